"""Reports: one self-contained page about runs or benchmarks, for people."""

from cluster.report.write import write_bench_report, write_comparison, write_report, write_run_report

__all__ = ["write_bench_report", "write_comparison", "write_report", "write_run_report"]
