"""`fullpass serve`: answer requests for models over gRPC and REST, with TensorFlow Serving's API."""

from __future__ import annotations

import argparse
from typing import Any

DESCRIPTION = (
    "Serves directories of numbered models, as `fullpass push` fills them, with TensorFlow Serving's API over gRPC and REST: its "
    "clients need no change. Requests are joined into batches; a new version takes over between two requests."
)
EPILOG = """examples:
  fullpass serve serving                                  one model, named after its directory
  fullpass serve --model flights=serving --model ads=s3://bucket/ads
  fullpass serve serving --processes 4 --max-batch-size 512 --batch-timeout-micros 2000
  curl -d '{"instances": [{"b64": "..."}]}' http://127.0.0.1:8501/v1/models/serving:predict
  curl http://127.0.0.1:8501/v1/models/serving            state of its versions
  fullpass serve serving --check                          one answer and the curl line that asks for it, then the end

It listens on 127.0.0.1 unless --host says otherwise; anything else needs a token, client certificates or --open-to-all.
SIGTERM answers what is in flight, then ends.
"""

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("directory", nargs="?", metavar="DIR", help="directory of one model's numbered versions")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=DIR", help="one of several models")
    parser.add_argument("--name", metavar="NAME", help="name of the model in DIR (default: the directory's)")
    versions = parser.add_argument_group("versions")
    versions.add_argument("--latest", type=int, default=1, metavar="N", help="serve the N highest (default: 1)")
    versions.add_argument("--all-versions", action="store_true", help="serve every version")
    versions.add_argument("--versions", metavar="N,N", help="serve exactly these")
    versions.add_argument("--label", action="append", default=[], metavar="LABEL=N", help="name a version")
    versions.add_argument(
        "--canary-share", type=float, default=0.0, metavar="X", help="share of requests for the label 'canary' (0 to 1)"
    )
    versions.add_argument(
        "--golden",
        choices=("exact", "close", "off"),
        default="exact",
        help="how served features are held to the transform's at each load (default: exact)",
    )
    versions.add_argument(
        "--warm-up",
        metavar="PATH",
        help="ask a version requests of the newest shards there before it takes over: what --record writes, or PredictionLogs",
    )
    versions.add_argument("--poll", type=float, default=1.0, metavar="S", help="seconds between two looks (default: 1)")
    doors = parser.add_argument_group("doors")
    doors.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    doors.add_argument("--grpc-port", type=int, default=8500, metavar="N", help="0 a free one, -1 none (default: 8500)")
    doors.add_argument("--rest-port", type=int, default=8501, metavar="N", help="0 a free one, -1 none (default: 8501)")
    doors.add_argument("--token-file", metavar="FILE", help="clients must send the token in it")
    doors.add_argument("--tls-key", metavar="FILE", help="private key in PEM")
    doors.add_argument("--tls-certificate", metavar="FILE", help="certificate in PEM")
    doors.add_argument("--client-ca", metavar="FILE", help="clients must have a certificate of this authority")
    doors.add_argument("--open-to-all", action="store_true", help="no token and no certificates on an open address")
    doors.add_argument("--allow-reload", action="store_true", help="clients may change the list of models")
    batches = parser.add_argument_group("batches, by TensorFlow Serving's names")
    batches.add_argument("--max-batch-size", type=int, default=1024, metavar="N", help="rows (default: 1024)")
    batches.add_argument("--batch-timeout-micros", type=int, default=1000, metavar="N", help="default: 1000")
    batches.add_argument("--num-batch-threads", type=int, default=2, metavar="N", help="default: 2")
    batches.add_argument("--max-enqueued-batches", type=int, default=100, metavar="N", help="default: 100")
    batches.add_argument("--allowed-batch-sizes", metavar="N,N", help="sizes to pad to (default: powers of two)")
    batches.add_argument(
        "--enable-batching",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="join requests (default); without it each is run as it came, for models that look at several rows for the answer to one",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="that share the ports (default: 1)")
    parser.add_argument(
        "--drain", type=float, default=30.0, metavar="S", help="seconds for requests in flight at the end"
    )
    parser.add_argument(
        "--access-log",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="log this share of the requests as JSON (default: 0)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="ask each model one row that was kept with it, print the curl line and the answer, and end",
    )
    parser.add_argument("--trace", metavar="URL|FILE", help="OpenTelemetry spans to a collector (OTLP/HTTP) or a file")
    parser.add_argument(
        "--record",
        nargs=2,
        metavar=("SHARE", "DIR"),
        help="write this share of requests and answers as TFRecord shards",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command."""
    from trainers.serving.server import serve

    config = _config(args)
    if args.check:
        return _check(config)
    serve(config, lambda ready: print(_greeting(ready), flush=True))
    return 0


def _check(config: Any) -> int:
    from trainers.serving.server.check import check

    for line, answer in check(config):
        print(f"$ {line}\n{answer}")
    return 0


def _config(args: argparse.Namespace) -> Any:
    from pathlib import Path

    from cluster.cli.option_values import number_of, numbers_of, pairs_of, share_of
    from engine import ConfigError
    from trainers.serving.server import BatchingConfig, ModelConfig, ServeConfig, VersionPolicy

    directories = pairs_of("--model", args.model)
    if args.directory:
        name = args.name or args.directory.rstrip("/").rsplit("/", 1)[-1]
        if directories.setdefault(name, args.directory) != args.directory:
            raise ConfigError(f"model {name!r} is both {directories[name]} and {args.directory}; give one another name")
    if not directories:
        raise ConfigError("serve needs a DIR or --model NAME=DIR")
    policy = VersionPolicy(latest=args.latest, all=args.all_versions, specific=numbers_of("--versions", args.versions))
    labels = {label: number_of("--label", number) for label, number in pairs_of("--label", args.label).items()}
    models = [
        ModelConfig(
            name=name,
            directory=path,
            policy=policy,
            labels=labels,
            canary_share=args.canary_share,
            golden=args.golden,
            warm_up=args.warm_up,
        )
        for name, path in directories.items()
    ]
    batching = BatchingConfig(
        max_batch_size=args.max_batch_size,
        batch_timeout_micros=args.batch_timeout_micros,
        num_batch_threads=args.num_batch_threads,
        max_enqueued_batches=args.max_enqueued_batches,
        allowed_batch_sizes=numbers_of("--allowed-batch-sizes", args.allowed_batch_sizes),
        enable_batching=args.enable_batching,
    )
    return ServeConfig(
        models=tuple(models),
        host=args.host,
        grpc_port=None if args.grpc_port < 0 else args.grpc_port,
        rest_port=None if args.rest_port < 0 else args.rest_port,
        processes=args.processes,
        poll_s=args.poll,
        batching=batching,
        token=Path(args.token_file).read_text().strip() if args.token_file else None,
        tls_key=args.tls_key,
        tls_certificate=args.tls_certificate,
        client_ca=args.client_ca,
        open_to_all=args.open_to_all,
        allow_reload=args.allow_reload,
        drain_s=args.drain,
        access_log_share=args.access_log,
        trace=args.trace,
        record_share=share_of("--record", args.record[0]) if args.record else 0.0,
        record_directory=args.record[1] if args.record else None,
    )


def _greeting(config: Any) -> str:
    doors = []
    if config.grpc_port is not None:
        doors.append(f"gRPC on {config.host}:{config.grpc_port}")
    if config.rest_port is not None:
        scheme = "https" if config.tls_key else "http"
        doors.append(f"REST on {scheme}://{config.host}:{config.rest_port}/v1/models/{config.models[0].name}")
    names = ", ".join(model.name for model in config.models)
    return f"serving {names}: {'; '.join(doors)}"
