#!/usr/bin/env python3
"""Executable model of one account and its holds, and the generator of hold_histories.jsonl.

    python3 hold_model.py > hold_histories.jsonl        # same output every time
    python3 hold_model.py --seed 7 --histories 500      # another sample

One history per line:
    {"policy": {"on_lapse": "Release|CaptureReported|CaptureHeld", "overrun": "Debt|CapToAvailable|CapToHold",
                "credit_limit": n},
     "deposit": n,                          minor units deposited first (0: none)
     "steps": [{"do": {...}, "outcome": "...", "after": {...}}, ...]}
"do" is {"tick": n} (the store's clock moves n time units), {"command": name, "hold": "h0#1", ...arguments}, or
{"command": "deposit"|"withdraw", "operation": id, "amount": n}. ttl, grace and late window are one time unit each; grace runs
from the deadline, the late window from the moment of the lapse. "after" is the account and the named hold once the step
is done: available, held (account totals), and per hold state, held, reported, provisional, actual, captured,
written_off, refunded. The model keeps money as one pool per account: lots, budgets and account status are outside it.
"""
import argparse, json, random
from dataclasses import dataclass, replace

TTL = GRACE = LATE = 1
ABSENT, OPEN, LAPSED, SETTLED, RELEASED, SEALED = "Absent", "Open", "Lapsed", "Settled", "Released", "Sealed"


@dataclass(frozen=True)
class Hold:
    state: str = ABSENT
    number: int = 0              # order of creation within the account
    terms: tuple = None          # (amount, min) of the reserve that made it; None for a tombstone or a direct debit
    held: int = 0
    held_at_close: int = 0       # what it held when it was closed: the bound of CapToHold afterwards
    reported: int = 0
    provisional: int = 0
    settled_as: int = None       # the owner's first settlement: repeating it stays a replay after a correction
    actual: int = None
    captured: int = 0
    written_off: int = 0
    refunded: int = 0
    mark: int = 0                # Open: deadline. Lapsed: when it lapsed.
    operations: tuple = ()       # ids of refunds and corrections, with their arguments


@dataclass(frozen=True)
class Account:
    funds: int                   # available + held
    now: int
    holds: tuple
    operations: tuple = ()       # ids of deposits and withdrawals, with their arguments


class Model:
    def __init__(self, on_lapse, overrun, credit_limit=0):
        self.on_lapse, self.overrun, self.credit_limit = on_lapse, overrun, credit_limit

    def spendable(self, account):
        return account.funds - sum(h.held for h in account.holds) + self.credit_limit

    def put(self, account, i, hold, funds=None):
        holds = list(account.holds)
        holds[i] = hold
        return replace(account, funds=account.funds if funds is None else funds, holds=tuple(holds))

    def charge(self, account, i, cost, undo=0):
        """Hold i pays cost in total; undo is what it had captured before. -> captured, written_off, funds"""
        hold, funds = account.holds[i], account.funds + undo
        others = sum(h.held for j, h in enumerate(account.holds) if j != i)
        room = max(0, funds - others + self.credit_limit, hold.held, undo)   # its own hold and capture are always payable
        if self.overrun == "CapToHold" and hold.state != ABSENT:             # a direct debit has no hold to cap to
            room = min(room, max(hold.held, hold.held_at_close, undo))
        captured = cost if self.overrun == "Debt" or cost <= room else room
        return captured, cost - captured, funds - captured

    def close_provisionally(self, account, i):
        hold = account.holds[i]
        cost = {"Release": 0, "CaptureReported": hold.reported, "CaptureHeld": max(hold.held, hold.reported)}[self.on_lapse]
        captured, written_off, funds = self.charge(account, i, cost)
        return self.put(account, i, replace(hold, state=LAPSED, held=0, held_at_close=hold.held, provisional=cost,
                                            captured=captured, written_off=written_off, mark=account.now), funds)

    def lapse_overdue(self, account, needed):
        """What the sweeper would do now, oldest deadline first, until enough is free. Kept only if the command is admitted."""
        order = sorted(range(len(account.holds)), key=lambda i: (account.holds[i].mark, account.holds[i].number))
        for i in order:
            if self.spendable(account) >= needed:
                break
            account = self.lapse(account, i, account.holds[i])[1]
        return account

    def step(self, account, name, i, *args):
        return getattr(self, name)(account, i, account.holds[i], *args)

    def reserve(self, account, i, hold, amount, minimum):
        if hold.state == ABSENT:
            refused = account
            if self.spendable(account) < amount:
                account = self.lapse_overdue(account, amount)
            free = self.spendable(account)
            grant = amount if free >= amount else free if minimum is not None and free >= minimum and free > 0 else None
            if grant is None:
                return "Denied", refused
            number = 1 + max(h.number for h in account.holds)
            return ("Created" if grant == amount else "CreatedPartial"), self.put(
                account, i, replace(hold, state=OPEN, number=number, terms=(amount, minimum), held=grant, mark=account.now + TTL))
        if hold.terms is None:
            return "AlreadyClosed", account
        if hold.terms != (amount, minimum):
            return "Conflict", account
        return ("Replayed" if hold.state == OPEN else "AlreadyClosed"), account

    def _not_open(self, hold):
        return {ABSENT: "UnknownHold", LAPSED: "LeaseLost"}.get(hold.state, "Closed")

    def renew(self, account, i, hold):
        if hold.state != OPEN:
            return self._not_open(hold), account
        return "Ok", self.put(account, i, replace(hold, mark=max(hold.mark, account.now + TTL)))

    def extend(self, account, i, hold, target, partial):
        if hold.state != OPEN:
            return self._not_open(hold), account
        if target <= hold.held:
            return "Ok", account
        refused, needed = account, target - hold.held
        if self.spendable(account) < needed:
            others = self.put(account, i, replace(hold, mark=account.now + TTL))   # it does not lapse itself
            account = self.put(self.lapse_overdue(others, needed), i, hold)
        free = self.spendable(account)
        if free >= needed:
            return "Ok", self.put(account, i, replace(hold, held=target))
        if partial:
            return "OkPartial", self.put(account, i, replace(hold, held=hold.held + max(free, 0)))
        return "Denied", refused

    def report(self, account, i, hold, total):
        if hold.state in (OPEN, LAPSED):
            return ("Ok" if hold.state == OPEN else "LeaseLost"), self.put(
                account, i, replace(hold, reported=max(hold.reported, total)))
        return self._not_open(hold), account

    def settle(self, account, i, hold, actual, or_debit):
        if hold.state == ABSENT and not or_debit:
            return "UnknownHold", account
        if hold.state in (ABSENT, OPEN, LAPSED):
            captured, written_off, funds = self.charge(account, i, actual, hold.captured)
            return {ABSENT: "OkDirect", OPEN: "Ok", LAPSED: "OkLate"}[hold.state], self.put(
                account, i, replace(hold, state=SETTLED, held=0, held_at_close=max(hold.held, hold.held_at_close), provisional=0,
                                    settled_as=actual, actual=actual, captured=captured, written_off=written_off), funds)
        if actual in (hold.actual, hold.settled_as):
            return "Replayed", account
        return ("Sealed" if hold.state == SEALED else "Conflict"), account

    def release(self, account, i, hold, waive):
        if hold.state == ABSENT:
            return "Tombstoned", self.put(account, i, replace(hold, state=RELEASED, actual=0))
        if hold.state in (OPEN, LAPSED):
            if hold.reported > 0 and not waive:
                return "UsageReported", account
            return ("Ok" if hold.state == OPEN else "OkLate"), self.put(
                account, i, replace(hold, state=RELEASED, held=0, held_at_close=max(hold.held, hold.held_at_close), actual=0,
                                    captured=0, written_off=0, provisional=0), account.funds + hold.captured)
        if hold.state == RELEASED:
            return "Replayed", account
        if hold.state == SETTLED:
            return "AlreadySettled", account
        return ("Replayed" if hold.actual == 0 else "Sealed"), account

    def abandon(self, account, i, hold):
        if hold.state == ABSENT:
            return "Tombstoned", self.put(account, i, replace(hold, state=RELEASED, actual=0))
        if hold.state != OPEN:
            return "NoOp", account
        return "Abandoned", self.close_provisionally(account, i)

    def lapse(self, account, i, hold):
        if hold.state != OPEN:
            return "NoOp", account
        if account.now < hold.mark + GRACE:
            return "NotDue", account
        return "Lapsed", self.close_provisionally(account, i)

    def seal(self, account, i, hold):
        if hold.state != LAPSED:
            return "NoOp", account
        if account.now < hold.mark + LATE:
            return "NotDue", account
        cost = max(hold.provisional, hold.reported) if self.on_lapse == "CaptureReported" else hold.provisional
        captured, written_off, funds = hold.captured, hold.written_off, account.funds
        if cost != hold.provisional:
            captured, written_off, funds = self.charge(account, i, cost, hold.captured)
        return "Sealed", self.put(account, i, replace(hold, state=SEALED, actual=cost, captured=captured,
                                                      written_off=written_off, provisional=0), funds)

    def _operation(self, hold, operation, args):
        if hold.state == ABSENT:
            return "UnknownHold"
        if hold.state in (OPEN, LAPSED):
            return "NotFinal"
        for seen, seen_args in hold.operations:
            if seen == operation:
                return "Replayed" if seen_args == args else "KeyReused"

    def refund(self, account, i, hold, operation, amount):
        refusal = self._operation(hold, operation, (amount,))
        if refusal:
            return refusal, account
        if hold.refunded + amount > hold.captured:
            return "ExceedsRefundable", account
        done = hold.operations + ((operation, (amount,)),)
        return "Ok", self.put(account, i, replace(hold, refunded=hold.refunded + amount, operations=done), account.funds + amount)

    def correct(self, account, i, hold, operation, expected, actual):
        refusal = self._operation(hold, operation, (expected, actual))
        if refusal:
            return refusal, account
        if hold.actual != expected:
            return "Conflict", account
        captured, written_off, funds = hold.captured, hold.written_off, account.funds
        if actual != hold.actual:
            captured, written_off, funds = self.charge(account, i, actual, hold.captured)
        if captured < hold.refunded:
            return "BelowRefunded", account
        done = hold.operations + ((operation, (expected, actual)),)
        return "Ok", self.put(account, i, replace(hold, state=SEALED if hold.state == SEALED else SETTLED, actual=actual,
                                                  captured=captured, written_off=written_off, operations=done), funds)


    def money(self, account, name, operation, amount):
        for seen, seen_args in account.operations:
            if seen == operation:
                return ("Replayed" if seen_args == (name, amount) else "KeyReused"), account
        free = account.funds - sum(h.held for h in account.holds)
        if name == "withdraw" and amount > free:
            return "InsufficientPaid", account
        return "Ok", replace(account, funds=account.funds + (amount if name == "deposit" else -amount),
                             operations=account.operations + ((operation, (name, amount)),))


ARGUMENTS = {"reserve": ("amount", "min"), "renew": (), "extend": ("target", "partial"), "report": ("total",),
             "settle": ("actual", "or_debit"), "release": ("waive",), "abandon": (), "lapse": (), "seal": (),
             "refund": ("operation", "amount"), "correct": ("operation", "expected", "actual")}


def commands(rng):
    """A palette of commands whose amounts meet the edges: below, at and above the hold and the balance."""
    pick = lambda *xs: rng.choice(xs)
    return [("reserve", *pick((5, None), (5, 2), (8, None), (8, 6), (10, None), (10, 6), (11, 2))), ("renew",), ("extend", pick(5, 7, 9, 12), pick(True, False)),
            ("report", pick(1, 2, 6, 12)), ("settle", pick(0, 2, 4, 5, 6, 11, 13), pick(True, False)),
            ("release", pick(True, False)), ("abandon",), ("lapse",), ("seal",), ("refund", pick("r1", "r2"), pick(1, 3, 5)),
            ("correct", pick("c1", "c2"), pick(0, 2, 4, 6, 11), pick(0, 2, 5, 9, 14))]


def snapshot(model, account, i):
    total_held = sum(h.held for h in account.holds)
    totals = {"available": account.funds - total_held, "held": total_held}
    if i is None:
        return totals
    hold = account.holds[i]
    return {**totals, "hold": {"state": hold.state, "held": hold.held, "reported": hold.reported, "provisional": hold.provisional,
                     "actual": hold.actual, "captured": hold.captured, "written_off": hold.written_off, "refunded": hold.refunded}}


def plan(rng, length):
    """Steps to take: mostly chance, but half of the histories first lead a hold into the rarer states."""
    chance = [("tick", rng.choice((1, 1, 2, 3))) if rng.random() < 0.15 else None for _ in range(length)]
    road = rng.random()
    if road < 0.35:
        late = [("tick", 3), "lapse", ("tick", 1), "seal"][:rng.choice((2, 4, 4))]
        return ["reserve"] + ([rng.choice(("report", "extend", "renew"))] if rng.random() < 0.6 else []) + late + chance
    if road < 0.5:
        return ["reserve", "settle", "refund", "correct", "correct"] + chance
    return chance


def history(model, rng, deposit, length, holds=3):
    account, steps, cells, sent = Account(deposit, 0, (Hold(),) * holds), [], set(), []
    for n, wanted in enumerate(plan(rng, length)):
        if isinstance(wanted, tuple):
            account = replace(account, now=account.now + wanted[1])
            steps.append({"do": {"tick": wanted[1]}})
            continue
        if not wanted and rng.random() < 0.08:
            name, operation, amount = rng.choice(("deposit", "withdraw")), rng.choice(("m1", "m2", "m3")), rng.choice((1, 4, 9))
            outcome, account = model.money(account, name, operation, amount)
            cells.add(("Account", name, outcome))
            steps.append({"do": {"command": name, "operation": operation, "amount": amount}, "outcome": outcome,
                          "after": snapshot(model, account, None)})
            continue
        i = 0 if wanted or n == 0 or rng.random() < 0.7 else rng.randrange(holds)
        palette = commands(rng)
        if wanted:
            name, *args = next(c for c in palette if c[0] == wanted)
        elif sent and rng.random() < 0.12:                                    # a delayed duplicate
            i, (name, *args) = rng.choice(sent)
        else:
            name, *args = palette[0] if account.holds[i].state == ABSENT and rng.random() < 0.7 else rng.choice(palette)
        sent.append((i, (name, *args)))
        before = account.holds[i].state
        outcome, account = model.step(account, name, i, *args)
        cells.add((before, name, outcome))
        steps.append({"do": {"command": name, "hold": f"h{i}#1", **dict(zip(ARGUMENTS[name], args))},
                      "outcome": outcome, "after": snapshot(model, account, i)})
    return steps, cells


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--histories", type=int, default=1200)
    parser.add_argument("--cells", action="store_true", help="print the distinct (state, command, outcome) instead")
    options = parser.parse_args()
    rng, seen = random.Random(options.seed), set()
    for n in range(options.histories):
        policy = {"on_lapse": rng.choice(("Release", "CaptureReported", "CaptureHeld")),
                  "overrun": rng.choice(("Debt", "CapToAvailable", "CapToHold")), "credit_limit": rng.choice((0, 0, 3))}
        deposit = rng.choice((0, 10, 10, 10, 25))
        steps, cells = history(Model(**policy), rng, deposit, rng.randint(4, 16))
        seen |= cells
        if not options.cells:
            print(json.dumps({"policy": policy, "deposit": deposit, "steps": steps}, separators=(",", ":")))
    if options.cells:
        for cell in sorted(seen):
            print(*cell)


if __name__ == "__main__":
    main()
