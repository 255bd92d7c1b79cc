"""A race seen from the agent: actions, reference line, observation, reward, rollouts, environments, drivers."""
