"""The evaluator: greedy races from the start line with weights that do not change meanwhile.

The loop in which it is used::

    evaluator = Evaluator(settings, driving, game, RaceArchive(run.best, keep=3), run_seed=0)
    evaluation = evaluator.evaluate(weights)
    for result in evaluation.results:
        print(result.map, result.finish_rate, result.best_time_s)

Nothing of it becomes experience. The same weights drive different races, since the quantiles by which a policy judges
are drawn anew for each decision; in the same game, equal weights and seeds give the same evaluation.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np

from actors.courses import Course, Driving
from actors.evaluation import Evaluation, MapResult, alarm_text
from actors.game_keeper import GameKeeper
from actors.race_archive import RaceArchive, RaceRecording
from actors.race_report import RaceContext, RaceFigures, RaceReport, report_race
from actors.weight_fetcher import ActingPolicy
from actors.weight_store import Weights
from tmrl_ray.config.evaluation import EvaluationSettings
from tmrl_ray.errors import ConfigError, GameLostError, NotSavedError
from tmrl_ray.iqn.policy import GREEDY
from tmrl_ray.racing.rollout import rollout

log = logging.getLogger(__name__)

EVALUATOR = -1
"""Number of the evaluator where collectors have theirs."""


class Evaluator:
    """Measures weights in one game; see the module for the loop in which it is used.

    Args:
        settings: how many races, and what becomes of them.
        driving: what is driven. Each map of it is measured once, with its first entry.
        game: where.
        archive: where the best is kept; None: nowhere.
        run_seed: seed of the run.
        clock: tells monotonic seconds.

    Raises:
        ConfigError: there is no map.
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        driving: Driving,
        game: GameKeeper,
        archive: RaceArchive | None,
        *,
        run_seed: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings = settings
        self._driving = driving
        self._game = game
        self._archive = archive
        self._run_seed = run_seed
        self._clock = clock
        self._races = 0
        self._courses: dict[str, Course] = {}
        for course in driving.courses:
            self._courses.setdefault(course.entry.map, course)
        if not self._courses:
            raise ConfigError("there is no map to measure on", hint="Name one under maps:")

    def evaluate(self, weights: Weights) -> Evaluation:
        """Drive all races and return what they came to.

        Raises:
            DataError: the weights are damaged.
            GameRefusedError: the game cannot be played.
        """
        turns = self.run(weights)
        while True:
            try:
                next(turns)
            except StopIteration as end:
                evaluation: Evaluation = end.value
                return evaluation

    def run(self, weights: Weights) -> Generator[None, None, Evaluation]:
        """Do the same with a turn after each decision, for whoever has something else to do in between."""
        begun_s = self._clock()
        seed = np.random.SeedSequence((self._run_seed, weights.version, *b"evaluation")).generate_state(1)[0]
        policy = self._driving.make_policy(int(seed))
        policy.load(weights.tensors(), version=weights.version)
        policy.exploration = GREEDY
        results, reports = [], []
        for course in self._courses.values():
            on_map: list[RaceReport] = []
            while len(on_map) < self.settings.races:
                report = yield from self._race(policy, course)
                if report is not None:
                    on_map.append(report)
            results.append(MapResult.of(course.entry.name, on_map, self.settings.confidence))
            reports += on_map
        evaluation = Evaluation(weights.version, tuple(results), tuple(reports), self._clock() - begun_s)
        return self._keep(evaluation, weights)

    def close(self) -> None:
        """Let go of the game."""
        self._game.close()

    def _race(self, policy: ActingPolicy, course: Course) -> Generator[None, None, RaceReport | None]:
        """Drive a race; None: the game was lost, which says nothing about the weights."""
        figures = RaceFigures()
        try:
            game = self._game.game()
            recording = RaceRecording(game.settings.decision_period_ms)
            game.load_map(course.entry.map)
            policy.reset()
            driven = rollout(game, policy, course.line, layout=self._driving.layout, cut_offs=self._driving.cut_offs)
            for step in driven:
                figures.add(step)
                if driven.moment is not None:
                    recording.add(step, driven.moment)
                yield
            if driven.end.lost is not None:
                raise driven.end.lost
        except GameLostError as error:
            log.warning("a race of the evaluation is driven again: %s", error)
            self._game.lost(error)
            return None
        context = RaceContext(
            collector=EVALUATOR,
            incarnation=0,
            race_id=self._races,
            map=course.entry.name,
            exploration=False,
            stored=False,
            epsilon=0.0,
            first_version=policy.version,
        )
        self._races += 1
        report = report_race(context, figures, driven.end, policy.version)
        if self._archive is not None and report.finish_time_ms is not None:
            try:
                self._archive.offer_race(course.entry.name, report.finish_time_ms, recording, policy.version)
            except NotSavedError as error:
                log.error("%s", error)
        return report

    def _keep(self, evaluation: Evaluation, weights: Weights) -> Evaluation:
        """Keep the weights if they are among the best, and compare them with those."""
        if self._archive is None:
            return evaluation
        best = next(iter(self._archive.scores()), None)
        alarm = alarm_text(evaluation.score, best, self.settings.confidence) if self.settings.alarm else None
        if alarm is not None:
            log.error("the finish rate collapsed: %s", alarm)
        try:
            self._archive.offer_evaluation(evaluation, weights)
        except NotSavedError as error:
            log.error("%s", error)
        return replace(evaluation, alarm=alarm)
