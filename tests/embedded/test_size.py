"""A folder stays what it was started as: a single platform or a cluster."""

from pathlib import Path

import pytest

from mercato.embedded.errors import PlatformError
from mercato.embedded.plan import SERVICES, draw
from mercato.embedded.ports import LOOPBACK
from mercato.embedded.settings import Given
from mercato.embedded.size import CLUSTER, SINGLE, Size, insist, kind_of


@pytest.mark.parametrize(("was", "folder", "wanted"), [
    ("a single platform", "mongo", CLUSTER), ("a single platform", "nats", CLUSTER),
    ("a cluster", "mongo-1", SINGLE), ("a cluster", "nats-1", SINGLE),
])  # fmt: skip
def test_a_folder_refuses_another_size_and_names_the_way_out(
    tmp_path: Path, was: str, folder: str, wanted: Size
) -> None:
    (tmp_path / folder).mkdir()
    with pytest.raises(PlatformError, match=was) as refusal:
        insist(tmp_path, wanted)
    assert "--data-dir" in refusal.value.remedy
    insist(tmp_path, SINGLE if wanted == CLUSTER else CLUSTER)


def test_a_cluster_has_copies_of_all_but_the_cache_and_the_mailbox(tmp_path: Path) -> None:
    plan = draw(tmp_path, SERVICES, 0, Given(), None, size=CLUSTER)
    single = [part.name for part in plan.parts if kind_of(part.name) == part.name]
    assert {"redis", "mailbox", "balancer"} <= set(single)
    for variable in ("MONGO_URI", "NATS_URL"):
        assert plan.environment[variable].count("127.0.0.1:") == 3
    for service in ("user", "inventory", "order", "mailer"):
        assert plan.environment[f"{service.upper()}_SERVICE"].count(",") == 1
        assert {f"{service}-1", f"{service}-2"} <= {part.name for part in plan.parts}
    assert plan.urls["gateway"].endswith(f":{plan.ports['balancer/http']}")


@pytest.mark.parametrize(("size", "front"), [(SINGLE, {"gateway"}), (CLUSTER, set())])
def test_the_gateway_alone_listens_where_the_environment_says(
    tmp_path: Path, size: Size, front: set[str]
) -> None:
    plan = draw(tmp_path, SERVICES, 0, Given(), None, size=size)
    services = [part for part in plan.parts if kind_of(part.name) in SERVICES]
    assert {part.name for part in services if part.environment.get("HOST") != LOOPBACK} == front


def test_a_part_is_a_copy_of_what_its_name_begins_with() -> None:
    assert [kind_of(name) for name in ("order-2", "order", "mongo-3")] == [
        "order", "order", "mongo",
    ]  # fmt: skip
