"""The timing of programs, with programs whose duration a fake clock sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from train.bench.timing import Donated, alternate, compile_timed, ratio


class Machine:
    """A clock that programs move."""

    def __init__(self):
        self.now, self.ran = 0.0, []

    def clock(self):
        return self.now

    def program(self, name, seconds):
        def run():
            self.ran.append(name)
            self.now += seconds(len(self.ran)) if callable(seconds) else seconds

        return run


def test_each_program_gets_its_own_seconds_and_warm_up_is_left_out():
    machine = Machine()
    programs = {"a": machine.program("a", lambda ran: 100 if ran <= 4 else 1), "b": machine.program("b", 3)}
    seconds = alternate(programs, 5, warmup=2, clock=machine.clock)
    np.testing.assert_array_equal(seconds["a"], np.ones(5))
    np.testing.assert_array_equal(seconds["b"], np.full(5, 3))
    assert machine.ran.count("a") == machine.ran.count("b") == 7


def test_the_order_turns_around_each_time():
    machine = Machine()
    alternate({name: machine.program(name, 1) for name in "abc"}, 3, warmup=1, clock=machine.clock)
    assert "".join(machine.ran) == "cbaabccbaabc"


def test_what_a_program_returns_is_waited_for_within_its_time():
    class Result:
        def block_until_ready(self):
            machine.now += 7

    machine = Machine()
    seconds = alternate({"a": lambda: [Result()]}, 2, warmup=0, clock=machine.clock)
    np.testing.assert_array_equal(seconds["a"], [7, 7])


@pytest.mark.parametrize(("programs", "repeats"), [({}, 3), ({"a": lambda: None}, 0)])
def test_nothing_to_time_is_refused(programs, repeats):
    with pytest.raises(ValueError, match="at least one program and one repeat"):
        alternate(programs, repeats)


def test_a_machine_that_slows_down_does_not_change_the_ratio():
    mood = np.linspace(1, 10, 21)
    found = ratio(3 * mood, 2 * mood)
    assert (found.median, found.quartiles, found.interval) == (1.5, (1.5, 1.5), (1.5, 1.5))
    assert found.repeats == 21


def test_quartiles_and_interval_are_order_statistics():
    found = ratio(np.random.default_rng(0).permutation(np.arange(1.0, 22)), np.ones(21))
    assert found.median == 11
    assert found.quartiles == (6, 16)
    # 21 values: the 6th to the 16th cover the median with 97.3 %, the 7th to the 15th with 92.2 %.
    assert found.interval == (6, 16)


@pytest.mark.parametrize("number", [6, 7, 20, 41])
def test_the_interval_covers_the_median_often_enough(number):
    rng = np.random.default_rng(number)
    hits = 0
    for _ in range(400):
        low, high = ratio(rng.exponential(size=number), np.ones(number)).interval
        hits += low <= np.log(2) <= high
    assert hits >= 365  # 95 % of 400 is 380, with a standard deviation of 4.4


@pytest.mark.parametrize("number", [*range(6, 60), 99, 100, 101, 1000])
def test_the_interval_is_the_pair_of_order_statistics_that_the_binomial_distribution_gives(number):
    values = np.random.default_rng(number).normal(10, 1, number)
    # The number of values below the true median is binomial(number, 1/2).
    rank = int(scipy.stats.binom.ppf(0.025, number, 0.5))
    ordered = np.sort(values)
    assert ratio(values, np.ones(number)).interval == (ordered[rank - 1], ordered[-rank])


@pytest.mark.parametrize("number", range(1, 6))
def test_fewer_than_six_turns_give_no_interval(number):
    assert np.isnan(ratio(np.arange(1.0, number + 1), np.ones(number)).interval).all()


def test_a_donated_program_goes_on_from_what_it_returned():
    program, seconds = compile_timed(jax.jit(lambda x, y: (x + y, x), donate_argnums=0), jnp.ones(3), jnp.ones(3))
    assert seconds > 0
    state = jnp.zeros(3)
    donated = Donated(program, state, jnp.ones(3))
    donated()
    _, out = donated()
    np.testing.assert_array_equal(out, np.ones(3))
    np.testing.assert_array_equal(donated.state, np.full(3, 2))
    assert state.is_deleted()
