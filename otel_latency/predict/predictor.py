"""The predictor: learns from each call that ends what to expect of the next.

    estimate = predictor.predict("openai", "draft", "gpt-4o", input_tokens=500)     # before the call
    slow = predictor.slow_call(estimate, seconds, output_tokens=90)                 # after it: was it slow?
    shift = predictor.observe(estimate, seconds, output_tokens=90)                  # ... and has the model changed?

An operation (provider, task, model) leans on its model's pool while it is new, that one on the provider's, and that
on everything. Time comes as an argument, Unix seconds, and tells how long ago the last call was and since when things
are slower. Failed calls teach nothing.

Cost: 50 us to predict, 25 to learn. Memory: at most `max_keys` operations with 16 KiB each, and as many models with
24; those unused for longest are forgotten. Not safe for threads.
"""

from __future__ import annotations

from collections import OrderedDict
from math import exp, isfinite, nan, sqrt
from typing import Final

from otel_latency.predict import state
from otel_latency.predict.estimate import TINY, Estimate
from otel_latency.predict.habits import Habits, Key, Launch, Learnt
from otel_latency.predict.pool import Pool
from otel_latency.predict.shift import AnomalyScore, Call, Shift, Watch, tail_evidence
from otel_latency.predict.slow import SlowCall, slow_call

MAX_KEYS: Final = 500
AFTER_SHIFT: Final = 20.0
"""Calls that all the past counts as once a shift was announced."""


class Model:
    """What the operations of one (provider, model) share."""

    __slots__ = ("pool", "watch")

    def __init__(self, provider: Pool) -> None:
        self.pool = Pool(provider)
        self.watch = Watch()


class Predictor:
    """Durations of operations, learnt from calls."""

    def __init__(self, *, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._everything = Pool()
        self._providers: OrderedDict[str, Pool] = OrderedDict()
        self._models: OrderedDict[tuple[str, str], Model] = OrderedDict()
        self._habits: OrderedDict[Key, Habits] = OrderedDict()

    def predict(
        self,
        provider: str,
        task: str,
        model: str | None = None,
        *,
        input_tokens: float | None = None,
        in_flight: int = 0,
        output_tokens: float | None = None,
        now: float | None = None,
    ) -> Estimate:
        """What to expect of a call that starts now.

        *in_flight* is the number of calls that are running already. *output_tokens* is what is known of the answer's
        length: a limit, a guess, or after the call the truth.
        """
        habits = self._known((provider, task, model or ""))
        grid, launch = habits.forecast(input_tokens, in_flight, output_tokens)
        if now is not None:
            grid = habits.widened(grid, now)
        return _estimate(grid, habits, launch, slope=habits.pool.excess.mean)

    def observe(
        self,
        estimate: Estimate,
        seconds: float,
        *,
        output_tokens: float | None = None,
        ok: bool = True,
        now: float | None = None,
    ) -> Shift | None:
        """Learn that the call of *estimate* took *seconds*; a change of its model that this call makes certain."""
        launch = estimate.launch
        if launch is None or not ok or not isfinite(seconds) or seconds <= 0:
            return None
        habits = self._of(launch.key)
        seconds = max(seconds, TINY)
        learnt = habits.learn(launch, seconds, output_tokens, now)
        return None if learnt is None else self._watch(launch.key, seconds, learnt, now)

    def given(self, estimate: Estimate, output_tokens: float) -> Estimate | None:
        """What the call of *estimate* may take with that many output tokens; None where that was never learnt."""
        if estimate.launch is None:
            return None
        habits = self._known(estimate.launch.key)
        grid = habits.given(estimate.launch, output_tokens)
        return None if grid is None else _estimate(grid, habits, estimate.launch, slope=0.0)

    def slow_call(self, estimate: Estimate, seconds: float, *, output_tokens: float | None = None) -> SlowCall | None:
        """Whether the call was so slow that less than one in a hundred is by chance. Ask before `observe`."""
        given = None if output_tokens is None else self.given(estimate, output_tokens)
        return slow_call(estimate, seconds, given)

    def anomaly(self, provider: str, model: str | None = None) -> AnomalyScore:
        """How near the model is to being called slower than it was."""
        known = self._models.get((provider, model or ""))
        return AnomalyScore(0.0, "level") if known is None else known.watch.score()

    def knows(self, provider: str, model: str | None = None) -> bool:
        """Whether any call of that provider was learnt, or of that model of it."""
        return (provider in self._providers) if model is None else ((provider, model) in self._models)

    @property
    def operations(self) -> int:
        """How many are known."""
        return len(self._habits)

    # --- the parts -----------------------------------------------------------------------------------------------

    def _known(self, key: Key) -> Habits:
        """To look into: a question about something unknown does not make it known, and so displaces nothing."""
        habits = self._habits.get(key)
        if habits is not None:
            self._habits.move_to_end(key)
            return habits
        model = self._models.get((key[0], key[2]))
        return Habits(key, self._providers.get(key[0], self._everything) if model is None else model.pool)

    def _of(self, key: Key) -> Habits:
        """To learn."""
        habits = self._habits.get(key)
        if habits is None:
            habits = self._habits[key] = Habits(key, self._model(key).pool)
            if len(self._habits) > self._max_keys:
                self._habits.popitem(last=False)
        else:
            self._habits.move_to_end(key)
        return habits

    def _model(self, key: Key) -> Model:
        provider, _, name = key
        model = self._models.get((provider, name))
        if model is None:
            model = self._models[provider, name] = Model(self._provider(provider))
            if len(self._models) > self._max_keys:
                self._models.popitem(last=False)
        else:
            self._models.move_to_end((provider, name))
        return model

    def _provider(self, name: str) -> Pool:
        pool = self._providers.get(name)
        if pool is None:
            pool = self._providers[name] = Pool(self._everything)
            if len(self._providers) > self._max_keys:
                self._providers.popitem(last=False)
        return pool

    def _watch(self, key: Key, seconds: float, learnt: Learnt, now: float | None) -> Shift | None:
        provider, _, model = key
        watch = self._model(key).watch
        call = Call(
            level=learnt.off / sqrt(learnt.variance),
            speed=nan if learnt.off_speed is None else learnt.off_speed / sqrt(learnt.variance_speed),
            tail=tail_evidence(learnt.excess),
            seconds=seconds,
            off=learnt.off,
            off_speed=nan if learnt.off_speed is None else learnt.off_speed,
            time=nan if now is None else now,
        )
        kind = watch.add(call)
        if kind is None:
            return None
        for habits in self._habits.values():
            if (habits.key[0], habits.key[2]) == (provider, model):
                habits.fade(AFTER_SHIFT)
        return watch.announce(provider, model, kind)

    # --- to keep it ----------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Everything learnt, for `load`."""
        parts: list[tuple[list[str], state.Part]] = [(["everything"], self._everything)]
        parts += ((["provider", name], pool) for name, pool in self._providers.items())
        for (provider, name), model in self._models.items():
            parts += ((["model", provider, name], model.pool), (["watch", provider, name], model.watch))
        parts += ((["habits", *key], habits) for key, habits in self._habits.items())
        return state.pack(parts)

    def load(self, dumped: bytes) -> Predictor:
        """Become what was dumped, and answer itself. ValueError, and nothing is changed, where that is unreadable."""
        fresh = Predictor(max_keys=self._max_keys)
        for (kind, *names), numbers, arrays in state.unpack(dumped):
            try:
                fresh._part(kind, names).restore(numbers, arrays)
            except (TypeError, ValueError) as error:
                raise ValueError(f"the state of a predictor is of another shape: {kind} {names}") from error
        vars(self).update(vars(fresh))
        return self

    def _part(self, kind: str, names: list[str]) -> state.Part:
        if kind == "everything":
            return self._everything
        if kind == "provider":
            return self._provider(*names)
        if kind == "habits":
            provider, task, name = names
            return self._of((provider, task, name))
        provider, name = names
        model = self._model((provider, "", name))
        return model.pool if kind == "model" else model.watch


def _estimate(grid: list[float], habits: Habits, launch: Launch, *, slope: float) -> Estimate:
    quantiles = tuple([exp(each) for each in grid])
    return Estimate(quantiles, int(habits.count), launch, habits.tokens, slope=slope)
