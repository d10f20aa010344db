package conf

import "testing"

const oneGateway = " is a list; one Mediation Server has exactly one gateway peer, so write that one and give every further gateway a causeway of its own"

func TestValueFaults(t *testing.T) {
	const (
		listen  = "listen: tcp://198.51.100.10:5060"
		peer    = `peer: "sip:198.51.100.20:5060"`
		nextHop = `next_hop: "sip:192.0.2.20:5061;transport=tls"`
		peers   = "peers: [192.0.2.0/24]"
		ports   = "ports: 60000-64000"
		notURL  = " is no listener; write udp://, tcp:// or tls:// and an address, such as tls://192.0.2.10"
	)
	checkFaults(t, []faultTest{
		fault("list of gateways", "  gateway:\n    listen: tcp://198.51.100.10:5060\n    peer: \"sip:198.51.100.20:5060\"\n    media_address: 198.51.100.10\n",
			"  gateway:\n    «- listen: tcp://198.51.100.10:5060\n      peer: \"sip:198.51.100.20:5060\"\n    - listen: tcp://198.51.100.11:5060\n      peer: \"sip:198.51.100.21:5060\"\n",
			"mediation.gateway"+oneGateway),
		fault("list of peers", peer, `peer: «["sip:198.51.100.20:5060", "sip:198.51.100.21:5060"]`,
			"mediation.gateway.peer"+oneGateway),
		fault("list of gateway listeners", listen, `listen: «[tcp://198.51.100.10:5060, udp://198.51.100.10:5060]`,
			"mediation.gateway.listen"+oneGateway),

		fault("listener without scheme", listen, "listen: «198.51.100.10:5060",
			`mediation.gateway.listen "198.51.100.10:5060"`+notURL),
		fault("listener with an unknown scheme", listen, "listen: «ws://198.51.100.10:5060",
			`mediation.gateway.listen "ws://198.51.100.10:5060"`+notURL),
		fault("listener on a name", listen, "listen: «tcp://gw:5060",
			`mediation.gateway.listen "tcp://gw:5060" listens on "gw", which is no IP address; write the address of an interface of this host`),
		fault("listener on every address", listen, "listen: «tcp://0.0.0.0:5060",
			`mediation.gateway.listen "tcp://0.0.0.0:5060" listens on every address of the host; write the one address that peers are to use, or one listener for each`),
		fault("listener on port 0", listen, "listen: «tcp://198.51.100.10:0",
			`mediation.gateway.listen "tcp://198.51.100.10:0" has the port "0"; ports are 1 to 65535`),
		fault("listener on a port too high", listen, "listen: «tcp://198.51.100.10:65536",
			`mediation.gateway.listen "tcp://198.51.100.10:65536" has the port "65536"; ports are 1 to 65535`),
		fault("listener without host", listen, "listen: «tcp://:5060",
			`mediation.gateway.listen "tcp://:5060" has no host`),
		fault("listener with a path", listen, "listen: «tcp://198.51.100.10:5060/",
			`mediation.gateway.listen "tcp://198.51.100.10:5060/" has the port "5060/"; ports are 1 to 65535`),
		fault("IPv6 without brackets", listen, "listen: «tcp://2001:db8::1",
			`mediation.gateway.listen "tcp://2001:db8::1" has an IPv6 address without brackets; write [ADDRESS]:PORT`),
		fault("open bracket", listen, `listen: «"tcp://[2001:db8::1:5060"`,
			`mediation.gateway.listen "tcp://[2001:db8::1:5060" has a bracket that is not closed; write [ADDRESS]:PORT`),
		fault("text behind the bracket", listen, `listen: «"tcp://[2001:db8::1]5060"`,
			`mediation.gateway.listen "tcp://[2001:db8::1]5060" has text behind the bracket; write [ADDRESS]:PORT`),
		fault("zone", listen, `listen: «"tcp://[fe80::1%eth0]:5060"`,
			`mediation.gateway.listen "tcp://[fe80::1%eth0]:5060" listens on "fe80::1%eth0", which is no IP address; write the address of an interface of this host`),
		fault("one bad listener of two", "listen: [udp://192.0.2.30:3478, tcp://192.0.2.30:443]", "listen: [udp://192.0.2.30:3478, «tcp//192.0.2.30:443]",
			`relay.listen[1] "tcp//192.0.2.30:443" is no listener; write udp://, tcp://, tls:// or dtls:// and an address, such as tls://192.0.2.10`),

		fault("peer without scheme", peer, `peer: «"198.51.100.20:5060"`,
			`mediation.gateway.peer "198.51.100.20:5060" is no SIP URI; write sip:HOST:PORT;transport=udp, tcp or tls`),
		fault("sips", nextHop, `next_hop: «"sips:192.0.2.20"`,
			`mediation.pool.next_hop "sips:192.0.2.20" is no SIP URI; write sip:HOST:PORT;transport=udp, tcp or tls`),
		fault("user", nextHop, `next_hop: «"sip:alice@192.0.2.20"`,
			`mediation.pool.next_hop "sip:alice@192.0.2.20" names a user; a next hop is a host alone: sip:HOST:PORT`),
		fault("unknown transport", peer, `peer: «"sip:198.51.100.20;transport=sctp"`,
			`mediation.gateway.peer "sip:198.51.100.20;transport=sctp" has the parameter "transport=sctp"; the only one is transport=udp, tcp or tls`),
		fault("second parameter", peer, `peer: «"sip:198.51.100.20;transport=tcp;lr"`,
			`mediation.gateway.peer "sip:198.51.100.20;transport=tcp;lr" has the parameter "transport=tcp;lr"; the only one is transport=udp, tcp or tls`),
		fault("mistyped address", peer, `peer: «"sip:198.51.100.256"`,
			`mediation.gateway.peer "sip:198.51.100.256" has the host "198.51.100.256", which is neither an IP address nor a name`),
		fault("no name", peer, `peer: «"sip:-gw.example.org"`,
			`mediation.gateway.peer "sip:-gw.example.org" has the host "-gw.example.org", which is neither an IP address nor a name`),
		fault("unspecified peer", peer, `peer: «"sip:0.0.0.0"`,
			`mediation.gateway.peer "sip:0.0.0.0" sends to 0.0.0.0, which is no host; write the address of the peer`),

		fault("bits behind the mask", peers, "peers: [«192.0.2.1/24]",
			`mediation.pool.peers[0] "192.0.2.1/24" has bits behind its mask; write 192.0.2.0/24 for the network or 192.0.2.1 for the host`),
		fault("mask too long", peers, "peers: [192.0.2.1, «192.0.2.0/33]",
			`mediation.pool.peers[1] "192.0.2.0/33" is neither an IP address nor a network; write 192.0.2.10 or 192.0.2.0/24`),
		fault("name for a peer", "allow: [127.0.0.0/8]", "allow: [«localhost]",
			`relay.peers.allow[0] "localhost" is neither an IP address nor a network; write 192.0.2.10 or 192.0.2.0/24`),
		fault("no peers", peers, "peers: «[]",
			"mediation.pool.peers is empty; give at least one entry"),
		fault("no listeners", "listen: [tls://192.0.2.10:5061]", "listen: «[]",
			"mediation.pool.listen is empty; give at least one entry"),

		fault("bad address", "media_address: 198.51.100.10", "media_address: «198.51.100",
			`mediation.gateway.media_address "198.51.100" is no IP address; write one such as 192.0.2.10, without port or zone`),
		fault("address with a port", "media_address: 198.51.100.10", "media_address: «198.51.100.10:5060",
			`mediation.gateway.media_address "198.51.100.10:5060" is no IP address; write one such as 192.0.2.10, without port or zone`),
		fault("number for an address", "media_address: 198.51.100.10", "media_address: «10",
			`mediation.gateway.media_address "10" is no IP address; write one such as 192.0.2.10, without port or zone`),
		fault("unspecified address", "media_address: 198.51.100.10", "media_address: «0.0.0.0",
			`mediation.gateway.media_address "0.0.0.0" is no address of a host; write the one that packets are to be sent to`),
		fault("admin without port", "listen: 127.0.0.1:8480", "listen: «127.0.0.1",
			`admin.listen "127.0.0.1" is no address with a port; write one such as 127.0.0.1:8480`),

		fault("reversed ports", ports, "ports: «64000-60000",
			`mediation.ports "64000-60000" runs backwards; write 60000-64000`),
		fault("one port", ports, "ports: «60000",
			`mediation.ports "60000" is no range of ports; write FIRST-LAST, such as 60000-64000`),
		fault("ports too high", ports, "ports: «60000-70000",
			`mediation.ports "60000-70000" is no range of ports; write FIRST-LAST, such as 60000-64000`),
		fault("ports too low", ports, "ports: «1000-2000",
			`mediation.ports "1000-2000" reaches below port 1024, where other services live; choose ports from 1024 up`),
		fault("no pair", ports, "ports: «60001-60002",
			`mediation.ports 60001-60002 holds no even port with the odd one behind it, which RTP and RTCP of a call need; widen the range`),

		fault("unknown word", "srtp: required", "srtp: «optinal",
			`mediation.pool.srtp "optinal" is none of required, optional, rejected; did you mean optional?`),
		fault("word from nowhere", "federation: legacy", "federation: «open",
			`relay.federation "open" must be one of closed, r2, legacy`),
		fault("number for a word", "log: {level: info", "log: {level: «3",
			`log.level "3" must be one of debug, info, warn, error`),

		fault("unknown learning", "srtp: required", "srtp: required\n    learning: «sameip",
			`mediation.pool.learning "sameip" is none of strict, same_ip, nat; did you mean same_ip?`),
		fault("media timeout too short", "  max_calls: 1000", "  media_timeout: «9s\n  max_calls: 1000",
			"mediation.media_timeout is 9s, shorter than pauses of a peer that sends nothing through silence; write 10s or more, or 0s to let calls last without media"),
		fault("media timeout too long", "  max_calls: 1000", "  media_timeout: «25h\n  max_calls: 1000",
			`mediation.media_timeout "25h" is too long; the most is 24h`),
		fault("duration without unit", "  max_calls: 1000", "  ring_timeout: «185\n  max_calls: 1000",
			`mediation.ring_timeout "185" is no duration; write a number with its unit, such as 90s or 3m`),
		fault("duration too short", "  max_calls: 1000", "  ring_timeout: «10ms\n  max_calls: 1000",
			`mediation.ring_timeout "10ms" is too short; the least is 1s`),
		fault("duration too long", "  max_calls: 1000", "  ring_timeout: «61m\n  max_calls: 1000",
			`mediation.ring_timeout "61m" is too long; the most is 1h`),

		fault("bad pattern", `pattern: '^(\d{4})$'`, `pattern: «'^(\d{4}$'`,
			"mediation.location_profile[0].pattern \"^(\\\\d{4}$\" cannot be used: pattern: error parsing regexp: missing closing ) in `^(\\d{4}$`; correct the regular expression (.NET syntax)"),
		fault("empty pattern", "pattern: '^0$'", "pattern: «''",
			`mediation.location_profile[1].pattern "" cannot be used: the pattern is empty and would match every number; correct the regular expression (.NET syntax)`),
		fault("bad translation", "translation: '+14255550100'", "translation: «'$99999999999'",
			"mediation.location_profile[1].translation \"$99999999999\" cannot be used: translation: error parsing regexp: capture group number out of range in `$99999999999`; groups are written $1 or ${1}"),
		fault("name used twice", "name: second", "name: «first",
			`mediation.location_profile[1].name "first" is the name of rule 1 as well, and reports could not tell them apart; rename one`),

		fault("empty state folder", "state_dir: /var/lib/causeway", "state_dir: «''",
			"state_dir is empty; name the folder for records and keys, or remove the key for /var/lib/causeway"),
		fault("realm with a quote", "realm: example.org", `realm: «'"'`,
			"relay.realm is no realm; write 1 to 127 characters without quotes, the domain of the users as a rule"),
		{name: "nobody may use the relay", old: "realm: example.org\n", broken: "«realm: example.org\n",
			more: []string{"  users: {alice: secret}\n", ""},
			want: []string{"relay has neither users nor rest_secrets nor credentials, so nobody could use it; add one of them"}},
		fault("user without password", "users: {alice: secret}", "users: {alice: «''}",
			"relay.users.alice has no password; give one or remove the user"),
		fault("user with a colon", "users: {alice: secret}", "users: {'a:b': «secret}",
			"relay.users.a:b is no user name; write 1 to 508 characters without a colon"),
		fault("user whom clients prepare otherwise", "users: {alice: secret}", "users: {alice: «\"a\\u00a0b\"}",
			`relay.users.alice cannot be used, since clients prepare names and passwords (RFC 8265): user "alice": the password has a space other than U+0020; choose another`),
		fault("user with a control character", "users: {alice: secret}", "users: {\"a\\tb\": «secret}",
			`relay.users.a`+"\t"+`b cannot be used, since clients prepare names and passwords (RFC 8265): user "a\tb": the name has a control character; choose another`),
		fault("too many secrets", "users: {alice: secret}", "rest_secrets: «[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]",
			"relay.rest_secrets cannot be used: 17 secrets are live at once, 16 may be; keep the newest"),
		fault("realm with a control character", "realm: example.org", `realm: «"a\tb"`,
			"relay.realm is no realm; write 1 to 127 characters without quotes, the domain of the users as a rule"),
		fault("empty secret", "users: {alice: secret}", "rest_secrets: [one, «'']",
			"relay.rest_secrets[1] is empty, so everyone could make credentials; give the secret or remove it"),
	})
}

func TestConflicts(t *testing.T) {
	const (
		listen  = "listen: tcp://198.51.100.10:5060"
		peer    = `peer: "sip:198.51.100.20:5060"`
		nextHop = `next_hop: "sip:192.0.2.20:5061;transport=tls"`
		relay   = "listen: [udp://192.0.2.30:3478, tcp://192.0.2.30:443]"
		media   = "media_address: 198.51.100.10"
	)
	checkFaults(t, []faultTest{
		fault("ranges overlap", "ports: 60000-64000", "ports: «59000-64000",
			"mediation.ports 59000-64000 overlaps relay.ports 50000-59999; give the roles ranges apart, 50000-59999 and 60000-64000 by default"),
		fault("ranges touch in one port", "ports: 60000-64000", "ports: «59999-64000",
			"mediation.ports 59999-64000 overlaps relay.ports 50000-59999; give the roles ranges apart, 50000-59999 and 60000-64000 by default"),
		fault("listener in the media range", listen, "listen: «tcp://198.51.100.10:60002",
			"mediation.gateway.listen listens on 198.51.100.10:60002, a port inside mediation.ports 60000-64000 on the same address; move it out of the range"),
		fault("pool listener in the media range", "listen: [tls://192.0.2.10:5061]", "listen: [tls://192.0.2.10:5061, «tls://192.0.2.10:64000]",
			"mediation.pool.listen[1] listens on 192.0.2.10:64000, a port inside mediation.ports 60000-64000 on the same address; move it out of the range"),
		fault("relay listener in the relay range", relay, "listen: [«udp://192.0.2.30:50000]",
			"relay.listen[0] listens on 192.0.2.30:50000, a port inside relay.ports 50000-59999 on the same address; move it out of the range"),
		fault("admin in the media range", "  listen: 127.0.0.1:8480", "  listen: «0.0.0.0:60000",
			"admin.listen listens on 0.0.0.0:60000, a port inside mediation.ports 60000-64000 on the same address; move it out of the range"),
		fault("same listener twice", "listen: [tls://192.0.2.10:5061]", "listen: [tls://192.0.2.10:5061, «tcp://192.0.2.10:5061]",
			"mediation.pool.listen[1] listens on 192.0.2.10:5061, which mediation.pool.listen[0] listens on already; change the address or the port of one"),
		{name: "same listener in two roles", old: relay, broken: "listen: [udp://192.0.2.30:3478, tcp://198.51.100.10:5060]",
			more: []string{listen, "listen: «tcp://198.51.100.10:5060"},
			want: []string{"mediation.gateway.listen listens on 198.51.100.10:5060, which relay.listen[1] listens on already; change the address or the port of one"}},
		{name: "listener on the address of admin", old: "  listen: 127.0.0.1:8480", broken: "  listen: 0.0.0.0:5060",
			more: []string{listen, "listen: «tcp://198.51.100.10:5060"},
			want: []string{"mediation.gateway.listen listens on 198.51.100.10:5060, which admin.listen listens on already; change the address or the port of one"}},
		fault("families of the sides", media, "media_address: «\"2001:db8::1\"",
			"mediation.gateway.media_address puts media on 2001:db8::1 and mediation.pool.media_address puts it on 192.0.2.10; both sides must be IPv4 or both IPv6"),
		fault("family of the peer", peer, `peer: «"sip:[2001:db8::1]"`,
			"mediation.gateway.peer is at 2001:db8::1 and mediation.gateway.listen is at 198.51.100.10; both must be IPv4 or both IPv6"),
		fault("family of the next hop", nextHop, `next_hop: «"sip:[2001:db8::1]"`,
			"mediation.pool.next_hop is at 2001:db8::1 and mediation.pool.listen is at 192.0.2.10; both must be IPv4 or both IPv6"),
		fault("peer is us", peer, `peer: «"sip:198.51.100.10:5060"`,
			"mediation.gateway.peer is 198.51.100.10:5060, which is mediation.gateway.listen of this causeway, so calls would come back to it; write the address of the peer"),
		fault("next hop is us", nextHop, `next_hop: «"sip:192.0.2.10:5061;transport=tls"`,
			"mediation.pool.next_hop is 192.0.2.10:5061, which is mediation.pool.listen[0] of this causeway, so calls would come back to it; write the address of the peer"),
		fault("datagrams to the gateway without a socket", peer, `peer: «"sip:198.51.100.20;transport=udp"`,
			"mediation.gateway.peer uses udp and mediation.gateway.listen uses tcp: datagrams leave from the listener's own socket, so write the same in both"),
		fault("datagrams to the next hop without a socket", nextHop, `next_hop: «"sip:192.0.2.20;transport=udp"`,
			"mediation.pool.next_hop uses udp and no entry of mediation.pool.listen does: datagrams leave from a listener's own socket, so add a udp:// listener or use another transport"),
		{name: "TLS from the gateway alone", old: listen, broken: "listen: «tls://198.51.100.10:5060",
			more: []string{peer, `peer: «"sip:198.51.100.20:5060;transport=tcp"`},
			want: []string{
				"mediation.gateway.listen uses TLS, and mediation.gateway.tls names no certificate; add mediation.gateway.tls: {certificate: FILE, key: FILE}, or use tcp",
				"mediation.gateway.peer uses tcp and mediation.gateway.listen uses tls; both directions of a gateway link are TLS or neither is, so change one of them"}},
	})
}
