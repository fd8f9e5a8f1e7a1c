"""Names of services, answered from the API's EndpointSlices with addresses of pods: CoreDNS and kube-proxy in one.

Run as `dns.py ADDRESS SERVER TOKEN_FILE CA_FILE`, within the cluster's namespaces; it imports nothing of the project.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import struct
import sys
import urllib.request


def addresses(name: str, server: str, token: str, context: ssl.SSLContext) -> list[str]:
    """Returns the IPv4 addresses of [host.]service.namespace.svc.cluster.local."""
    labels = name.rstrip(".").lower().split(".")
    if labels[-3:] != ["svc", "cluster", "local"] or len(labels) not in (5, 6):
        return []
    host, (service, namespace) = ".".join(labels[:-5]), labels[-5:-3]

    def get(path: str) -> dict:
        request = urllib.request.Request(f"{server}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, context=context, timeout=3) as reply:
            return json.load(reply)

    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    items = get(f"{slices}?labelSelector=kubernetes.io/service-name%3D{service}")["items"]
    every = [endpoint for item in items for endpoint in item.get("endpoints") or []]
    ready = [endpoint for endpoint in every if endpoint["conditions"].get("ready", True)]
    if (
        len(ready) < len(every)
        and get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]["clusterIP"] != "None"
    ):
        ready = every  # the name of a service with an address of its own is there whether or not a pod is ready
    return [a for e in ready if not host or e.get("hostname") == host for a in e["addresses"]]


class Handler(socketserver.BaseRequestHandler):
    """Answers one query for an A record; anything else exists without records."""

    def handle(self) -> None:
        query, sock = self.request
        position, labels = 12, []
        while query[position]:
            labels.append(query[position + 1 : position + 1 + query[position]].decode())
            position += query[position] + 1
        kind = struct.unpack(">H", query[position + 1 : position + 3])[0]
        found = addresses(".".join(labels), *self.server.api)
        records = found if kind == 1 else []
        head = struct.pack(">HHHHH", 0x8580 | (0 if found else 3), 1, len(records), 0, 0)
        answers = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(a) for a in records]
        sock.sendto(query[:2] + head + query[12 : position + 5] + b"".join(answers), self.client_address)


class Server(socketserver.ThreadingUDPServer):
    """One thread a query: each waits for the API."""

    daemon_threads = True
    api: tuple[str, str, ssl.SSLContext]


if __name__ == "__main__":
    address, api_server, token_file, ca_file = sys.argv[1:5]
    with open(token_file) as file:
        api_token = file.read().split(",")[0]
    with Server((address, 53), Handler) as dns:
        dns.api = (api_server, api_token, ssl.create_default_context(cafile=ca_file))
        dns.serve_forever()
