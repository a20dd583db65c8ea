"""The benchmark measures what it says; how fast that is, is for `make bench` to show."""

from __future__ import annotations

from rewire.bench.__main__ import bench_connectivity


def test_row_of_the_connectivity_benchmark():
    row = bench_connectivity(sparsity=0.99, strategy="l2", steps=1, warm_up=1)
    assert (row["sparsity"], row["strategy"]) == (0.99, "l2")
    assert 0 < row["births"] < 98_101
    assert min(row["training step ms"], row["connectivity step ms"]) > 0
    share = 100 * row["connectivity step ms"] / row["training step ms"]
    assert abs(row["share %"] - share) < 0.1
