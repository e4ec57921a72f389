"""numpy's BLAS stands aside while scipy's factorises, and has its threads back afterwards."""

import threading

import pytest
from threadpoolctl import ThreadpoolController

from inversion import threads


def numbers():
    return {pool["filepath"]: pool["num_threads"] for pool in ThreadpoolController().info()}


@pytest.fixture
def numpys():
    """The file of numpy's own BLAS, with two threads."""
    own = threads._numpys().info()
    if not own:
        pytest.skip("numpy and scipy share one BLAS here")
    [pool] = own
    with ThreadpoolController().limit(limits=2):
        if numbers()[pool["filepath"]] != 2:
            pytest.skip("numpy's BLAS was built for one thread")
        yield pool["filepath"]


def test_it_is_numpys_pool_alone(numpys):
    before = numbers()
    with threads.scipy_alone():
        assert numbers() == {**before, numpys: 1}
    assert numbers() == before


def test_nested_and_after_an_error(numpys):
    with threads.scipy_alone():
        with threads.scipy_alone():
            pass
        assert numbers()[numpys] == 1
    with pytest.raises(ZeroDivisionError), threads.scipy_alone():
        1 / 0  # noqa: B018
    assert numbers()[numpys] == 2


@pytest.mark.parametrize("first_out", [0, 1])
def test_several_at_once_give_all_back(numpys, first_out):
    for pool in threads._numpys().lib_controllers:  # the fixture's thread has no more say than others
        getattr(pool, "clear_controlling_thread", lambda *, force: force)(force=True)
    inside, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def work(number):
        with threads.scipy_alone():
            inside[number].set()
            leave[number].wait(10)

    both = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for one, there in zip(both, inside, strict=True):
        one.start()
        assert there.wait(10)
    assert numbers()[numpys] == 1
    for number in (first_out, 1 - first_out):
        leave[number].set()
        both[number].join()
    assert numbers()[numpys] == 2


def test_a_decorated_function_may_call_itself(numpys):
    @threads.scipy_alone()
    def depth(n):
        assert numbers()[numpys] == 1
        return depth(n - 1) + 1 if n else 0

    assert depth(3) == 3
    assert numbers()[numpys] == 2
