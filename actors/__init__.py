"""The services around the learner, as plain classes: collectors, their pool, replay buffer, weight store, evaluator.

None of them knows how messages travel. In one process they hold each other; on a cluster ``actors.remote`` wraps each
of them in a Ray actor.
"""
