"""The format of variants, read, written and refused; and those that come with the package."""

import json
import math
import re
from pathlib import Path

import gymnasium as gym
import msgspec
import numpy as np
import pytest

from metarobot.envs import (
    FAMILIES,
    Variant,
    VariantError,
    find_variant,
    load_variant,
    make_env,
    shipped_variants,
)
from metarobot.envs.disturbances import Disturbances
from metarobot.envs.variants import MAX_FILE_BYTES, parse_variant, variant_format

EXAMPLE = """
family = "grip"
description = "everything at once"

[fixed]
pad_friction = 0.3

[ranges.block_mass_kg]
train = [0.5, 2]
gaps = [[1.2, 1.4], [0.7, 0.8]]
extrapolation = [[2.0, 2.5]]

[disturbances]
action_delay_steps = 2
observation_dropout = 0.1

[disturbances.sensor_noise]
m = 0.001
"m/s" = 0.01
1 = 0.02

[disturbances.push]
force_n = 2.5
duration_s = 0.12
at_s = [0.6, 0.3]

[change]
at_s = 0.5
values = {pad_friction = 0.2}
factors = {block_mass_kg = 1.1}
"""


def parse(text):
    return parse_variant(text.encode(), "my.toml", "my")


def complaint(read, *arguments):
    """Return what is wrong with a variant, "" if nothing is; no other error is caught."""
    try:
        read(*arguments)
    except VariantError as error:
        return str(error)
    return ""


def test_everything_in_a_file_is_read():
    variant = parse(EXAMPLE)
    assert (variant.name, variant.env_id) == ("my", "metarobot/Grip-v0")
    assert variant.description == "everything at once"
    mass, friction = variant.distribution.parameters
    assert (mass.train, mass.extrapolation) == ((0.5, 2.0), ((2.0, 2.5),))
    assert mass.gaps == ((0.7, 0.8), (1.2, 1.4))
    assert mass.nominal == 0.5  # the family's, 0.3, moved into the range
    assert (friction.nominal, friction.train, friction.varies) == (0.3, (0.3, 0.3), False)
    what = variant.disturbances
    assert dict(what.sensor_noise) == {"m": 0.001, "m/s": 0.01, "1": 0.02}
    assert (what.push.at_steps, what.change.at_step) == ((5, 10), 8)


def test_byte_order_marks_line_ends_and_names_of_files(tmp_path):
    data = b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode()
    assert parse_variant(data, "my.toml", "my") == parse(EXAMPLE)
    path = tmp_path / "my own variant.toml"
    path.write_text('family = "grip"\n')
    plain = load_variant(path)
    assert (plain.name, plain.env_id) == ("my_own_variant", "metarobot/Grip-v0")
    assert plain.distribution == FAMILIES[plain.env_id].distribution
    assert plain.disturbances == Disturbances()
    path.write_text('family = "grip"\nname = "other-1"\n')
    assert load_variant(path).name == "other-1"


def test_variants_survive_a_round_trip():
    for variant in (parse(EXAMPLE), *map(find_variant, shipped_variants())):
        written = json.loads(json.dumps(variant.to_dict()))
        assert Variant.from_dict(written) == variant
        assert Variant.from_dict(written).to_dict() == written
        assert len({variant, Variant.from_dict(written)}) == 1  # hashable, as a configuration is


DESCRIBED = re.findall(
    r"^\| `([\w.]+)` \|",
    (Path(__file__).parents[2] / "docs" / "variants.md").read_text("utf-8"),
    re.MULTILINE,
)
"""Keys in the documentation."""
BY_HAND = {
    "": ["family = None", "grip"],
    "family grip": ["line 1"],
    'family = "grip"\nfixed = {pad_friction = = 1}': ["line 2, column 25"],
    'family = "grib"': ["family = 'grib'", "nearest is 'grip'"],
    'family = "grip"\nname = "../../etc"': ["name = '../../etc'", "regex"],
    'family = "grip"\n[fixed]\nblock_mass = 1': ["fixed.block_mass = 1", "'block_mass_kg'"],
    'family = "grip"\n[fixed]\nblock_mass_kg = -1': ["fixed.block_mass_kg = -1", ">= 0.01"],
    'family = "grip"\n[ranges.pad_friction]\n': ["ranges.pad_friction", "missing", "`train`"],
    'family = "grip"\n[ranges.pad_friction]\ntrain = [0.5, 0.2]': ["train (0.5, 0.2)", "not nest"],
    'family = "grip"\n[ranges.pad_friction]\ntrain = [0.2, 1]\ngaps = [[0.1, 0.3]]': [
        "ranges.pad_friction: ",
        "train must hold gaps ((0.1, 0.3),)",
    ],
    'family = "grip"\nfixed.pad_friction = 0.5\nranges.pad_friction.train = [0.2, 1]': [
        "fixed.pad_friction = 0.5",
        "ranges.pad_friction",
    ],
    'family = "grip"\n[disturbances]\naction_delay_steps = 16': ["action_delay_steps = 16", "15"],
    'family = "grip"\n[disturbances]\nobservation_dropout = -0.1': ["observation_dropout = -0.1"],
    'family = "grip"\n[disturbances.sensor_noise]\nmm = 1.0': ["sensor_noise.mm = 1.0", "'m'"],
    'family = "grip"\n[disturbances.push]\nforce_n = 1\nduration_s = 0.1': ["push = {", "one of"],
    'family = "grip"\n[disturbances.push]\nforce_n = 1\nduration_s = 9\nprobability = 0.1': [
        "disturbances.push.duration_s = 9",
        "0.96",
    ],
    'family = "grip"\n[disturbances.push]\nforce_n = 1\nduration_s = 0.2\nat_steps = [3, 5]': [
        "disturbances.push.at_steps = [3, 5]",
        "overlap",
    ],
    'family = "grip"\n[disturbances.push]\nforce_n = 1\nduration_s = 0.2\nat_s = [2.0]': [
        "disturbances.push.at_s.0 = 2.0",
        "<= 0.9",
    ],
    'family = "grip"\n[change]\nat_step = 3': ["change = {", "name a task parameter"],
    'family = "grip"\n[change]\nat_step = 3\nvalues = {friction = 0.3}': [
        "change.values.friction = 0.3",
        "'pad_friction'",
    ],
    'family = "grip"\n[change]\nat_step = 3\nfactors = {block_mass_kg = 9.0}': [
        "change.factors.block_mass_kg = 9.0",
        "[0.01, 3]",
    ],
    'family = "half-cheetah-direction"\nfixed.direction = 0.5': ["one of -1, 1"],
}


@pytest.mark.parametrize(("text", "named"), BY_HAND.items())
def test_a_malformed_file_is_refused_in_one_line(text, named):
    line = complaint(parse, text)
    assert line.startswith("my.toml: ")
    for words in named:
        assert words in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'family = "grip"\nname = "\xff\xfe"', "can't decode byte 0xff"),
        (b"a = " + b"[" * 16_000, "recursion"),
        (b"a = " + b"9" * 16_000, "Exceeds the limit"),
        (b'family = "grip"\na = 0x' + b"f" * 16_000, "a = int that is too long"),
    ],
)
def test_what_is_hardly_a_file_is_refused_in_one_line(data, named):
    line = complaint(parse_variant, data, "my.toml", "my")
    assert named in line
    assert len(line) < 500


def test_what_a_file_cannot_be(tmp_path):
    with pytest.raises(VariantError, match=r"x\.toml: there is no such file"):
        load_variant(tmp_path / "x.toml")
    with pytest.raises(VariantError, match="must be a file"):
        load_variant(tmp_path)
    with pytest.raises(VariantError, match="is not the name of a file"):
        load_variant(tmp_path / "a\0b.toml")
    (tmp_path / "x.toml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(VariantError, match="at most 16,384 are allowed"):
        load_variant(tmp_path / "x.toml")


def keys_of(table, path=""):
    """Return all keys of a format, as the documentation writes them."""
    for field in msgspec.structs.fields(table):
        key, kinds = path + field.encode_name, getattr(field.type, "__args__", ())
        struct = [k for k in kinds if isinstance(k, type) and issubclass(k, msgspec.Struct)]
        if struct:
            yield from keys_of(struct[0], f"{key}.")
        else:
            names = "|".join(FAMILIES["metarobot/Grip-v0"].distribution.names)
            key = re.sub(rf"\b({names})\b", "PARAMETER", key)
            yield re.sub(r"(sensor_noise\.).*", r"\1UNIT", key)


def test_the_documentation_describes_every_key():
    found = {*keys_of(variant_format(FAMILIES["metarobot/Grip-v0"]))}
    assert found == {*DESCRIBED}


def test_times_are_rounded_to_control_steps():
    dt_s = FAMILIES["metarobot/Reach-v0"].control_step_s()
    change = {"at_s": 4.4 * dt_s, "factors": {"payload_kg": 1.0}}
    variant = Variant.from_dict({"family": "reach", "name": "x", "change": change})
    assert variant.disturbances.change.at_step == 4
    assert math.isclose(dt_s, make_env(variant.env_id, 1, num_threads=1).control_dt_s)


def test_variants_of_the_package_say_what_they_are_and_are_simulated():
    assert len(shipped_variants()) >= 10
    for name in shipped_variants():
        variant = find_variant(name)
        plain = Variant.from_dict({"family": variant.env_id, "name": name})
        assert variant.name == name
        assert 20 < len(variant.description) < 80
        assert (variant.distribution, variant.disturbances) != (
            plain.distribution,
            plain.disturbances,
        )
        env = make_env(variant.env_id, 8, num_threads=1, variant=variant)
        rng = np.random.default_rng(0)
        env.set_tasks(env.distribution.sample(rng, 8, "extrapolation"))
        env.reset(seed=0)
        for _ in range(env.horizon):
            observations, rewards, _, truncated, info = env.step(
                rng.uniform(-1, 1, env.action_space.shape)
            )
            assert np.isfinite(rewards).all()
            assert env.observation_space.contains(observations)
            assert not info["sim_unstable"].any()
        assert truncated.all()


def test_a_variant_is_given_by_name_by_path_or_as_it_is():
    name = "greasy_pads"
    variant, path = find_variant(name), shipped_variants()[name]
    for given_as in (name, str(path), path, variant):
        for env in (
            gym.make(variant.env_id, variant=given_as).unwrapped.vector_env,
            gym.make_vec(variant.env_id, num_envs=2, variant=given_as),
            make_env(variant.env_id, 2, variant=given_as),
        ):
            assert env.variant == variant
            env.close()


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        ("gresy_pads", "nearest is 'greasy_pads'"),
        (Path("nowhere") / "my.toml", "there is no such file"),
        ("heavy_tool", "is one of Reach, not of Grip"),
        ("", "no variant ''"),
        ({"name": "mine"}, "got a dict"),
    ],
    ids=str,
)
def test_what_is_no_variant_of_the_family_is_one_line(variant, line):
    with pytest.raises(ValueError, match=line) as raised:
        make_env("metarobot/Grip-v0", 2, variant=variant)
    assert "\n" not in str(raised.value)
