"""Process ids: known by whoever issued them, and by nobody else."""

import uuid
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from treeguard._core.trees.ids import IdIssuer
from treeguard.types import ProcessId


def issued(issuer: IdIssuer) -> tuple[ProcessId, int]:
    """A new id, and its number."""
    number = issuer.issue()
    return issuer.id_of(number), number


#: A manager's issuer that has been at work for a while, and everything that it issued.
ISSUER = IdIssuer()
ISSUED = dict(issued(ISSUER) for _ in range(5000))
PIDS = sorted(ISSUED)
#: Another one that issued as many.
OTHER = IdIssuer()
OTHERS = dict(issued(OTHER) for _ in range(5000))


@given(st.sampled_from(PIDS))
def test_an_issued_id_is_known(pid: ProcessId) -> None:
    """The running number of an issued id is found again, also from a copy of it."""
    assert ISSUER.issued(pid) == ISSUED[pid]
    assert ISSUER.issued(UUID(str(pid))) == ISSUED[pid]


@given(st.uuids() | st.integers(0, 2**128 - 1).map(lambda n: UUID(int=n)))
def test_any_other_id_is_unknown(pid: UUID) -> None:
    """A UUID from elsewhere is nobody's."""
    assert pid in ISSUED or ISSUER.issued(pid) is None


@given(st.sampled_from(PIDS), st.integers(0, 127))
def test_a_tampered_id_is_unknown(pid: UUID, bit: int) -> None:
    """One bit changed, wherever it is, and an id is not known any more."""
    assert ISSUER.issued(UUID(int=pid.int ^ (1 << bit))) is None


@given(st.integers(1, 6000), st.integers(0, 2**80 - 1))
def test_the_number_alone_is_not_enough(number: int, proof: int) -> None:
    """The running number alone is not enough to forge an id."""
    forged = UUID(int=(number << 80) | proof)
    assert forged in ISSUED or ISSUER.issued(forged) is None


@given(st.sampled_from(PIDS))
def test_another_issuers_id_is_unknown(pid: UUID) -> None:
    """Two issuers that issued as many ids do not know each other's."""
    assert OTHER.issued(pid) is None


@given(st.none() | st.integers() | st.text() | st.binary(min_size=16, max_size=16) | st.sampled_from(PIDS).map(str))
def test_what_is_no_id_is_unknown(thing: object) -> None:
    """Anything but a UUID is unknown, an issued id's text included."""
    assert ISSUER.issued(thing) is None


@given(st.integers(1, 200))
def test_ids_count_up(n: int) -> None:
    """Numbers are issued in order, from one on, and an id is known from when it is issued, not before."""
    issuer = IdIssuer()
    twin = IdIssuer()
    twin._keyed = issuer._keyed
    coming = [issued(twin)[0] for _ in range(n)]
    for i, pid in enumerate(coming, 1):
        assert issuer.issued(pid) is None
        assert issued(issuer) == (pid, i)
        assert issuer.issued(pid) == i


def test_ids_are_unique_uuids_of_version_8() -> None:
    """Ids are proper UUIDs, all different, between issuers too."""
    assert len(ISSUED.keys() | OTHERS.keys()) == 10_000
    assert list(ISSUED.values()) == list(range(1, 5001))
    for pid in ISSUED:
        assert pid.version == 8
        assert pid.variant == uuid.RFC_4122
