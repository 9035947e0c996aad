"""`metarobot list`."""

from __future__ import annotations

from metarobot.cli.console import OK
from metarobot.cli.listing import find_env_id, print_families, print_variants
from metarobot.cli.outside import import_family
from metarobot.cli.overview_options import ListCommand
from metarobot.cli.parsing import parse
from metarobot.cli.pretrained_listing import print_diagnoses, print_pretrained
from metarobot.envs import FAMILIES


def run(arguments: list[str], prog: str) -> int:
    """List families, their variants, and the policies and diagnoses that come with the package."""
    name = parse(ListCommand, arguments, prog).family
    env_ids = [*FAMILIES] if name is None else [find_env_id(import_family(name))]
    print_families(env_ids)
    print_variants(env_ids)
    print_pretrained(env_ids)
    if name is None:
        print_diagnoses()
    return OK
