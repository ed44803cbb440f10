"""A real engine whose thread dies in the middle of a reply when the talk says so."""

from persona.ports import TextDelta


class CrashingEngine:
    """Passes everything to `inner`; raises `SystemExit` after the first text of a reply whose prompt holds `trigger`.

    `budget` is a list with the number of crashes left: it is shared by every incarnation of the engine.
    """

    def __init__(self, inner, trigger, budget):
        self.inner, self.trigger, self.budget = inner, trigger, budget
        self.doomed = set()

    @property
    def info(self):
        return self.inner.info

    @property
    def busy(self):
        return self.inner.busy

    def submit(self, job, request):
        if self.trigger in request.turns[-1].text:
            self.doomed.add(job)
        self.inner.submit(job, request)

    def cancel(self, job):
        self.inner.cancel(job)

    def step(self):
        events = self.inner.step()
        if self.budget[0] and any(job in self.doomed and isinstance(event, TextDelta) for job, event in events):
            self.budget[0] -= 1
            raise SystemExit("the thread was killed")
        return events

    def close(self):
        self.inner.close()
