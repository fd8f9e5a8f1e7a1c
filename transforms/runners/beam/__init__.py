"""Apache Beam as a runner: any of its runners, Flink and Spark with their job servers."""
