"""What a play session does, without any user interface."""

import math

import numpy as np
import pytest
import torch

from metarobot.adaptation.session import draw_noise
from metarobot.envs import TaskError, find_family, make_env
from metarobot.evaluation.explaining import fit_probes
from metarobot.evaluation.explanation import ExplanationConfig
from metarobot.play.session import ADAPTED, BEFORE, MOST_TRIALS
from metarobot.play.sliders import make_sliders, read_values
from metarobot.rollout.collect import collect
from metarobot.rollout.seeding import Phase, numpy_generator

HEAVY = {"puck_mass_kg": 0.3, "table_friction": 0.3}


def run_episode(session):
    """Advance to the end of an episode; return how many control steps it took."""
    steps = 0
    while not session.advance().ended:
        steps += 1
    return steps


def try_times(session, number):
    for _ in range(number):
        session.try_once()
        run_episode(session)


def differ(one, other):
    return any(not torch.equal(leaf, other[name]) for name, leaf in one.items())


@pytest.mark.parametrize("algorithm", ["latent", "maml", "rl2"])
def test_adapting_is_that_of_a_block_of_episodes(play, algorithm):
    """What is learned from trials one by one is, bit for bit, what a block of them teaches."""
    session, number, seed = play(algorithm, task=HEAVY, seed=3), 3, 3
    try_times(session, number)
    session.adapt()
    policy, env = session.initial, make_env("metarobot/Slide-v0", 1, num_threads=1)
    env.set_tasks(HEAVY)
    starts = [
        numpy_generator(seed, 0, Phase.ADAPTATION, task=n).random(env.start_size, dtype=np.float32)
        for n in range(number)
    ]
    block = collect(
        env,
        policy.algorithm.exploring_policy,
        policy.task_params,
        noise=draw_noise(policy, number, seed),
        start=np.stack(starts)[None],
    )
    wanted = policy.adapt_from(block)
    assert session.adapted.num_episodes == number == session.state.num_adapted
    assert differ(wanted.params, policy.params)
    assert not differ(wanted.params, session.adapted.params)
    returns = [trial.return_ for trial in session.state.trials]
    assert returns == pytest.approx(block.returns[0].tolist(), abs=1e-5)
    env.close()


def test_both_policies_act_on_the_same_starts_as_they_are_judged(play):
    session = play("maml", task=HEAVY)
    try_times(session, 2)
    session.adapt()
    run_episode(session)
    state, env = session.state, make_env("metarobot/Slide-v0", 1, num_threads=1)
    env.set_tasks(HEAVY)
    start = numpy_generator(0, 0, Phase.RENDERING, task=0).random(env.start_size, dtype=np.float32)
    for policy, outcome in ((session.initial, state.before), (session.adapted, state.adapted)):
        episodes = collect(
            env, policy.policy, policy.task_params, noise=None, start=start[None, None]
        )
        assert outcome.num_episodes == 1
        assert outcome.mean_return == pytest.approx(float(episodes.returns[0, 0]), abs=1e-4)
    assert "from" in state.changes[0]
    env.close()


def test_a_slider_changes_the_physics_at_once(play):
    session = play()
    run_episode(session)
    assert session.state.before.num_episodes == 1
    session.advance()
    session.set_task({"puck_mass_kg": 0.4})
    index = session.env.model.body("puck").id
    assert session.env.batch.expand("body_mass")[:, index].tolist() == [0.4, 0.4]
    state = session.state
    assert state.task["puck_mass_kg"] == 0.4
    assert state.before is None  # of another task than the present one
    run_episode(session)
    env = make_env("metarobot/Slide-v0", 1, num_threads=1)
    env.set_tasks({"puck_mass_kg": 0.4})
    start = numpy_generator(0, 0, Phase.RENDERING, task=2).random(env.start_size, dtype=np.float32)
    policy = session.initial
    episodes = collect(env, policy.policy, policy.task_params, noise=None, start=start[None, None])
    wanted = float(episodes.returns[0, 0])
    assert session.state.before.mean_return == pytest.approx(wanted, abs=1e-4)
    env.close()


@pytest.mark.parametrize(
    ("family", "name", "shown"),
    [
        ("Insert", "clearance_m", ("mm", 1000.0)),
        ("Carry", "rod_length_m", ("m", 1.0)),
        ("Insert", "hole_friction", ("", 1.0)),
    ],
)
def test_people_read_short_lengths_in_millimetres(family, name, shown):
    distribution = find_family(f"metarobot/{family}-v0").distribution
    nominal = distribution.nominal()
    task = {name: float(nominal[name][0]) for name in distribution.names}
    sliders = make_sliders(distribution, distribution, task)
    (slider,) = (slider for slider in sliders if slider.name == name)
    assert (slider.unit, slider.shown_per_value) == shown
    assert slider.high < 3.0  # its ends are in the parameter's own unit


def test_sliders_reach_gaps_and_beyond_and_end_there(play):
    session = play()
    for slider in session.sliders:
        parameter = session.env.distribution[slider.name]
        edges = [edge for pair in parameter.extrapolation for edge in pair]
        assert (slider.low, slider.high) == (min(edges), max(edges))
        places = {slider.place(value) for value in np.geomspace(slider.low, slider.high, 200)}
        assert places == {"trained", "gap", "beyond"}
        session.set_task({slider.name: 1e9})
        assert session.state.task[slider.name] == slider.high
        assert session.state.places[slider.name] == "beyond"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mass": 1.0}, "no slider 'mass', allowed: puck_mass_kg"),
        ({"puck_mass_kg": math.nan}, "must be a finite number"),
        ({"puck_mass_kg": math.inf}, "must be a finite number"),
        ({"puck_mass_kg": "1"}, "must be a finite number"),
        ({"puck_mass_kg": True}, "must be a finite number"),
        ([1.0], "must be a mapping"),
    ],
)
def test_bad_values_change_nothing(play, values, words):
    session = play()
    before = session.state.task
    with pytest.raises(TaskError, match=r"allowed|number|mapping") as caught:
        session.set_task(values)
    assert words in str(caught.value)
    assert session.state.task == before
    with pytest.raises(TaskError):
        read_values(session.sliders, values)


def test_forgetting_goes_back_to_the_initialisation(play):
    session = play("maml")
    try_times(session, 1)
    first = session.state.trials[0].return_
    session.adapt()
    assert session.adapted is not None
    assert session.pictures == (BEFORE, ADAPTED)
    session.forget()
    state = session.state
    assert session.adapted is None
    assert state.trials == ()
    assert state.num_adapted == 0
    assert session.pictures == (BEFORE,)
    assert not state.buttons["forget"].enabled
    try_times(session, 1)
    assert session.state.trials[0].return_ != first  # other noise


def test_what_can_be_done_when(play):
    session = play()
    buttons = session.state.buttons
    assert [name for name, button in buttons.items() if button.enabled] == ["try"]
    assert buttons["adapt"].reason.startswith("try once first")
    session.try_once()
    assert session.trying
    assert not any(button.enabled for button in session.state.buttons.values())
    with pytest.raises(TaskError, match="a trial is running"):
        session.set_task({"puck_mass_kg": 0.4})
    session.adapt()  # without effect, as the button is disabled
    session.forget()
    assert session.adapted is None
    run_episode(session)
    assert not session.trying
    assert session.state.buttons["adapt"].enabled
    session.adapt()
    assert session.state.buttons["adapt"].reason == "it has adapted to all trials"
    session._trials *= MOST_TRIALS
    session._session._episodes *= MOST_TRIALS
    assert "the most" in session.state.buttons["try"].reason
    session.try_once()
    assert not session.trying


def test_trials_of_another_task_are_kept_and_counted(play):
    session = play()
    try_times(session, 2)
    assert session.state.num_other == 0
    session.set_task({"puck_mass_kg": 0.4})
    assert session.state.num_other == 2
    try_times(session, 1)
    assert (len(session.state.trials), session.state.num_other) == (3, 2)


def test_the_estimate_stands_beside_the_truth(play, run):
    session = play(task=HEAVY)
    assert session.state.estimates == ()
    assert session.state.estimate_note.startswith("adapt first")
    try_times(session, 2)
    session.adapt()
    estimates = {each.parameter: each for each in session.state.estimates}
    assert set(estimates) == set(HEAVY)
    for name, each in estimates.items():
        assert each.true == HEAVY[name]
        assert math.isnan(each.low)  # how far it may be off is not known yet
    session.set_task({"puck_mass_kg": 0.4})
    assert session.state.estimates[0].true == 0.4
    config = ExplanationConfig(num_tasks=10, adaptation_episodes=(1, 2))
    session.probes = fit_probes(run.trained, "latent", config)
    for each in session.state.estimates:
        assert each.low < each.value < each.high


def test_an_estimate_is_what_explain_reads(play, run):
    """The same probe reads the same adapted policy, whoever fitted it."""
    config = ExplanationConfig(num_tasks=10, adaptation_episodes=(1, 2))
    session = play("maml", task=HEAVY)
    try_times(session, 3)
    session.adapt()
    assert session.state.estimates == ()
    assert session.state.estimate_note.startswith("what it takes the task for is being measured")
    session.probes = probes = fit_probes(run.trained, "maml", config)
    assert set(probes) == {0, 1, 2}
    distribution = session.env.distribution
    state = session.initial.algorithm.adapted_state(
        session.initial.task_params, session.adapted.task_params
    )
    read = probes[2].predict(state.double().numpy())  # the last that three trials have
    wanted = distribution.decode(read).to_dicts()[0]
    assert {e.parameter: e.value for e in session.state.estimates} == pytest.approx(wanted)
    assert session.state.estimate_note == ""


def test_a_reference_acts_and_does_nothing_else(play):
    session = play("oracle", task=HEAVY)
    run_episode(session)
    state = session.state
    assert {button.reason for button in state.buttons.values()} == {"oracle does not adapt"}
    session.try_once()
    session.adapt()
    session.forget()
    assert not session.trying
    assert state.before.num_episodes == 1
    assert state.estimate_note == "oracle does not adapt"


def test_a_task_that_the_family_refuses(play):
    with pytest.raises(TaskError, match="puck_mass_kg = -1 kg is not allowed"):
        play(task={"puck_mass_kg": -1.0})
