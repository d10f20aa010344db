"""A TURN client of aioice: allocates, sends numbered messages to a peer that sends them back, and counts those.

aioice_client.py TRANSPORT CA HOST PORT USER PASSWORD PEER_HOST PEER_PORT MESSAGES

Prints the relayed address and then how many came back.
"""

import asyncio
import ssl
import sys

from aioice import turn


class Echoes(asyncio.DatagramProtocol):
    def __init__(self, expected):
        self.expected = expected
        self.came = set()
        self.complete = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, source):
        self.came.add((data, source))
        if len(self.came) == self.expected and not self.complete.done():
            self.complete.set_result(None)

    def connection_lost(self, reason):
        pass


async def main(transport, authority, host, port, user, password, peer_host, peer_port, count):
    count, peer = int(count), (peer_host, int(peer_port))
    secure = None
    if transport == "tls":
        secure = ssl.create_default_context(cafile=authority)
    relay, echoes = await turn.create_turn_endpoint(
        lambda: Echoes(count),
        server_addr=(host, int(port)),
        username=user,
        password=password,
        ssl=secure,
        transport="udp" if transport == "udp" else "tcp",
    )
    print("relayed %s:%d" % relay.get_extra_info("sockname"), flush=True)
    for i in range(count):
        relay.sendto(b"message %d" % i, peer)
        await asyncio.sleep(0.005)
    try:
        await asyncio.wait_for(echoes.complete, 5)
    except asyncio.TimeoutError:
        pass
    right = sum(1 for data, source in echoes.came if source == peer and data.startswith(b"message "))
    print("echoes %d" % right, flush=True)
    relay.close()
    await asyncio.sleep(0.3)  # the allocation is ended meanwhile


asyncio.run(main(*sys.argv[1:]))
