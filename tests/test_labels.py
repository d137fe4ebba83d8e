"""One rule for labels, held for every public function that takes arrays: put in order by name; absent, extra or twice is refused by name."""
from dataclasses import fields, is_dataclass

import numpy as np
import pandas as pd
import pytest
from public_arrays import BY_HAND, CASES, NAMES, SESSIONS, Case, Group, array_arguments, public

from otsport.core.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
ORDER = [2, 0, 1]


def numbers(answer) -> list:
    """All numbers of an answer, those of pandas objects in the order of their labels."""
    if isinstance(answer, pd.DataFrame):
        answer = answer.sort_index().sort_index(axis=1).to_numpy()
    elif isinstance(answer, pd.Series):
        answer = answer.sort_index().to_numpy()
    if is_dataclass(answer):
        return [x for f in fields(answer) if f.name != "seconds" for x in numbers(getattr(answer, f.name))]
    if isinstance(answer, dict):
        return [x for key in sorted(answer) for x in numbers(answer[key])]
    if isinstance(answer, (tuple, list)):
        return [x for part in answer for x in numbers(part)]
    flat = np.asarray(answer).ravel()
    return flat.astype(float).tolist() if flat.dtype.kind in "biuf" else []


def labelled(case: Case) -> dict:
    """The sample arguments as pandas objects with their labels."""
    found = {}
    for name, value in case.given.items():
        axes = {axis: group.labels for group in case.groups for axis in group.members.get(name, ())}
        rows = axes.get(0, SESSIONS[: len(value)] if value.ndim == 2 else None)
        found[name] = value if not axes else pd.Series(value, index=rows) if value.ndim == 1 else pd.DataFrame(value, index=rows, columns=axes.get(1))
    return found


def changed(value, axis: int, kind: str):
    """A pandas object whose labels along an axis stand in another order, lack the last one, or have one more."""
    index = list(value.axes[axis])
    if kind == "permuted":
        return value.take([ORDER[i] for i in range(3)] if len(index) == 3 else range(len(index))[::-1], axis=axis)
    if kind == "absent":
        return value.take(range(len(index) - 1), axis=axis)
    twin = value.take([len(index) - 1], axis=axis)
    twin = twin.set_axis([pd.Timestamp("2030-01-02") if index == SESSIONS else "EXTRA"], axis=axis)
    return pd.concat([value, twin], axis=axis)


def partners() -> list:
    """(function, group, argument, axis) of every argument whose labels meet those of another."""
    return [pytest.param(name, group, member, axis, id=f"{name}-{member}-{axis}") for name, case in CASES.items() for group in case.groups
            for at, (member, axes) in enumerate(group.members.items()) for k, axis in enumerate(axes) if group.fixed or at or k]


def test_every_public_function_that_takes_arrays_is_walked():
    functions = {name: found for name, f in public().items() if (found := array_arguments(f))}
    assert set(functions) | BY_HAND == set(CASES), "register it in public_arrays.CASES: a sample call, and the arguments that carry labels"
    for name, arguments in functions.items():
        case = CASES[name]
        covered = {m for group in case.groups for m in group.members} | set(case.rising) | set(case.plain)
        assert arguments <= covered, f"{name}: say whose labels {arguments - covered} meet"
        assert case.call is None or case.given


def test_the_walk_notices_a_function_that_pairs_by_position():  # negative control
    def careless(a, b):
        return (np.asarray(a) * np.asarray(b)).sum()
    case = Case(careless, {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([1.0, 5.0, 7.0])}, (Group({"a": (0,), "b": (0,)}),))
    given = labelled(case)
    assert numbers(careless(**given | {"b": changed(given["b"], 0, "permuted")})) != numbers(careless(**given))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.call])
def test_plain_arrays_pair_by_position_as_the_labelled_ones_do(name):
    case = CASES[name]
    plain, named = case.call(**case.given), case.call(**labelled(case))
    named = named.to_numpy() if isinstance(named, (pd.Series, pd.DataFrame)) else named
    assert numbers(np.asarray(plain) if isinstance(plain, (pd.Series, pd.DataFrame)) else plain) == pytest.approx(numbers(named), rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name, group, member, axis", partners())
def test_labels_in_another_order_give_the_same_answer(name, group, member, axis):
    case, given = CASES[name], labelled(CASES[name])
    found = case.call(**given | {member: changed(given[member], axis, "permuted")})
    assert numbers(found) == pytest.approx(numbers(case.call(**given)), rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", ["absent", "extra"])
@pytest.mark.parametrize("name, group, member, axis", partners())
def test_label_that_is_absent_or_extra_is_refused_by_name(name, group, member, axis, kind):
    case, given = CASES[name], labelled(CASES[name])
    label = {"absent": "BOLT", "extra": "EXTRA"}[kind] if group.labels == NAMES else {"absent": f"{SESSIONS[-1]:%Y-%m-%d}", "extra": "2030-01-02"}[kind]
    with pytest.raises(InputError, match=f"^{label}( \\(and .* more\\))? is in .* but not in "):
        case.call(**given | {member: changed(given[member], axis, kind)})


@pytest.mark.parametrize("name, group, member, axis", partners())
def test_label_that_stands_twice_is_refused_by_name(name, group, member, axis):
    case, given = CASES[name], labelled(CASES[name])
    first = given[member].axes[axis][0]
    twice = pd.concat([given[member], given[member].take([0], axis=axis)], axis=axis)
    with pytest.raises(InputError, match=f"{first:%Y-%m-%d} stands twice" if group.labels == SESSIONS else f"{first} stands twice"):
        case.call(**given | {member: twice})


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.groups and not case.seeded])
def test_all_in_another_order_give_the_same_labelled_answer(name):
    case = CASES[name]
    given, group = labelled(case), case.groups[0]
    turned = given | {m: changed(changed(given[m], axes[0], "permuted"), axes[-1], "permuted") if len(axes) == 2 else changed(given[m], axes[0], "permuted") for m, axes in group.members.items()}
    one, other = case.call(**given), case.call(**turned)
    order = (lambda x: x) if isinstance(one, (pd.Series, pd.DataFrame)) else sorted  # without labels of its own: the same numbers, in the order that was given
    clean = lambda answer: order([x for x in numbers(answer) if x == x])
    assert clean(other) == pytest.approx(clean(one), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.rising])
def test_dated_rows_that_do_not_rise_are_refused(name):
    case = CASES[name]
    (argument,), value = case.rising, case.given[case.rising[0]]
    dated = pd.Series(value, index=SESSIONS) if value.ndim == 1 else pd.DataFrame(value, index=SESSIONS, columns=NAMES)
    case.call(**case.given | {argument: dated})
    mixed = dated.take([1, 0, *range(2, 60)])
    for wrong in (dated[::-1], mixed, mixed.set_axis([d.date() for d in mixed.index])):
        with pytest.raises(InputError, match=r"returns: 2024-0\d-\d\d stands before 2024-0\d-\d\d, give the oldest first"):
            case.call(**case.given | {argument: wrong})
