"""A TrackMania-like game: tracks, car, race, pictures, and a server that speaks the plugin's protocol."""
