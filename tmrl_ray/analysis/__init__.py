"""What the figures of runs say: tables and plots of finished stages of pretraining."""
