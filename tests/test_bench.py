"""Against counts by hand, and against a clock around the whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from inkproof import engine
from inkproof.bench import bench
from inkproof.engine import memory_rate, multiply_add_rate
from inkproof.errors import ConfigurationError
from inkproof.layers import Conv2D, Dense, Flatten
from inkproof.optimizers import Adam

SOME = 0.02  # seconds


def trained(layers, input_shape, optimizer=None):
    network = engine.Network(layers, input_shape, threads=2, optimizer=optimizer)
    rng = np.random.default_rng(0)
    inputs = rng.random((640, int(np.prod(input_shape))), dtype=np.float32)
    labels = rng.integers(0, 10, 640)
    prepared = network.prepare(inputs)
    begin = time.perf_counter()
    network.train(prepared, labels, np.arange(640), batch_size=32, learning_rate=0.01)
    return network.times(), time.perf_counter() - begin


class TestTimes:
    def test_of_the_fused_network(self):
        layers = (Dense(70, activation="relu"), Dense(10, activation="softmax"))
        times, seconds = trained(layers, (50,))
        assert [(t.name, t.inputs, t.outputs, t.products) for t in times] == [
            ("dense", 50, 70, 3500),
            ("dense", 70, 10, 700),
        ]
        assert all(t.forward > 0 and t.backward >= 0 for t in times)
        assert sum(t.forward + t.backward for t in times) <= seconds

    def test_of_the_general_network(self):
        layers = (
            Conv2D(4, 3, activation="relu"),
            Flatten(),
            Dense(10, activation="softmax"),
        )
        times, seconds = trained(layers, (8, 8, 1), Adam())
        assert [(t.name, t.inputs, t.outputs, t.products) for t in times] == [
            ("convolution", 64, 6 * 6 * 4, 6 * 6 * 4 * 9),
            ("dense", 144, 10, 1440),
        ]
        assert all(t.forward > 0 and t.backward > 0 for t in times)
        assert sum(t.forward + t.backward for t in times) <= seconds

    def test_there_are_none_before_the_first_pass(self):
        network = engine.Network((Dense(3, activation="softmax"),), (4,))
        assert network.times() == []


class TestCeilings:
    def test_are_rates(self):
        # Between a slow processor of twenty years ago and one that does not exist yet.
        assert 1e8 < multiply_add_rate(1, SOME) < 1e13
        assert 1e8 < multiply_add_rate(1, SOME, precision="bfloat16") < 1e14
        assert 1e7 < memory_rate(1 << 14, 2, SOME) < 1e14
        assert 1e7 < memory_rate(1 << 20, 1, SOME, writes=True) < 1e14

    @pytest.mark.parametrize("threads", [0, 257])
    def test_refuse_threads(self, threads):
        with pytest.raises(ConfigurationError, match="threads must be 1 to 256"):
            multiply_add_rate(threads)

    @pytest.mark.parametrize("seconds", [0, -1, 61, float("nan")])
    def test_refuse_seconds(self, seconds):
        with pytest.raises(ConfigurationError, match="seconds must be above 0 to 60"):
            memory_rate(1 << 14, 1, seconds)
        with pytest.raises(ConfigurationError, match="seconds must be above 0 to 60"):
            bench(seconds=seconds)

    @pytest.mark.parametrize("size", [0, 1023, (1 << 32) + 1])
    def test_refuse_sizes(self, size):
        with pytest.raises(ConfigurationError, match="size must be 1024 to"):
            memory_rate(size, 1)

    def test_bfloat16_has_its_own_where_it_gains(self):
        if engine.usable_precision("bfloat16") == "float32":
            pytest.skip("this processor multiplies bfloat16 no faster than float32")
        floats, halves = [], []
        for _ in range(30):  # until each has had a moment of the core for itself
            floats.append(multiply_add_rate(1, SOME, precision="float32"))
            halves.append(multiply_add_rate(1, SOME, precision="bfloat16"))
            if len(floats) >= 5 and max(halves) > 1.5 * max(floats):
                return
        pytest.fail(f"bfloat16 {max(halves):.3g}, float32 {max(floats):.3g}")


def test_bench():
    result = bench(threads=1, seconds=SOME)
    best = {rate.precision: rate.all for rate in result.multiply_adds}
    assert list(best) == list(dict.fromkeys(map(engine.usable_precision, engine.PRECISIONS)))
    assert (result.isa, result.threads) == (engine.default_isa(), 1)
    assert [rate.size for rate in result.memory] == sorted(rate.size for rate in result.memory)
    sizes = {
        precision: [one.batch_size for one in result.networks if one.precision == precision]
        for precision in engine.PRECISIONS
    }
    assert sizes == {"float32": [32, 32, 32, 128], "bfloat16": [32, 128] * (len(best) - 1)}
    for network in result.networks:
        assert 0.5 < sum(layer.of_time for layer in network.layers) <= 1
        assert network.epoch_seconds > 0
        for layer in network.layers:
            assert layer.of_ceiling == pytest.approx(layer.rate / best[network.precision])
            assert (layer.rate > 0) == layer.name.startswith(("dense", "convolution"))


def test_bench_from_the_command_line():
    def stdout(*options):
        command = [sys.executable, "-m", "inkproof", "bench", "--seconds", "0.02", *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    assert json.loads(stdout("--threads", "1", "--json"))["threads"] == 1
    table = stdout("--threads", "2")
    assert "multiply-adds in float32, GFLOP/s" in table
    assert "the rest" in table
