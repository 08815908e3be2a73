"""The bridges and the worker's side of them that the tests of ``bridge`` use."""

from tests.integration.bridge.conftest import bridge, worker

__all__ = ["bridge", "worker"]
