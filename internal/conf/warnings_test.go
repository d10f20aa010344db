package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	checkWarnings(t, []faultTest{
		fault("admin on the network", "  listen: 127.0.0.1:8480", "  listen: «0.0.0.0:8480",
			"admin.listen 0.0.0.0:8480 is no loopback address: whoever reaches it reads call records and ends allocations without a password; keep it on 127.0.0.1, or let a firewall guard it"),
		fault("everyone is a peer", "peers: [192.0.2.0/24]", "peers: [192.0.2.20, «0.0.0.0/0]",
			"mediation.pool.peers[1] 0.0.0.0/0 lets every host place calls to the telephone network; name the hosts of the pool"),
		fault("underscore in the next hop", `next_hop: "sip:192.0.2.20:5061;transport=tls"`, `next_hop: «"sip:pool_1.example.org;transport=tls"`,
			`mediation.pool.next_hop has an underscore in the name "pool_1.example.org": many name servers and certificates do not allow it; use a hyphen`),
		fault("underscore in the peer", `peer: "sip:198.51.100.20:5060"`, `peer: «"sip:gw_1"`,
			`mediation.gateway.peer has an underscore in the name "gw_1": many name servers and certificates do not allow it; use a hyphen`),
		{name: "other transport", old: `peer: "sip:198.51.100.20:5060"`, broken: `peer: «"sip:198.51.100.20;transport=tcp"`, more: []string{"listen: tcp://198.51.100.10:5060", "listen: udp://198.51.100.10:5060"},
			want: []string{"mediation.gateway.peer uses tcp and mediation.gateway.listen uses udp: few gateways answer on another transport than they were called on; write the same in both"}},
		{name: "next hop by another transport", old: "listen: [tls://192.0.2.10:5061]", broken: "listen: [udp://192.0.2.10:5060]", more: []string{"srtp: required", "srtp: rejected", `next_hop: "`, `next_hop: «"`},
			want: []string{"mediation.pool.next_hop uses tls and no entry of mediation.pool.listen does: what the next hop sends in a call on a connection of its own has to come by another transport; add a tls:// listener"}},
		fault("keys in the clear", "listen: [tls://192.0.2.10:5061]", "listen: [tls://192.0.2.10:5061, «tcp://192.0.2.10:5060]",
			"mediation.pool.listen[1] is tcp, and srtp on this side is required: the media keys travel in the signalling, readable by everyone on the way; listen on tls"),
		fault("learning by anybody", "media_address: 198.51.100.10", "media_address: 198.51.100.10\n    learning: «nat",
			"mediation.gateway.learning takes the first source of plain RTP after the answer for the peer, whoever it is; use it for peers behind a NAT alone, and let a firewall keep others from mediation.ports"),
		fault("learning that keys decide", "srtp: required", "srtp: required\n    learning: «strict",
			"mediation.pool.learning is of no use: every call on this side is encrypted, and a source is believed for its key; remove it"),
		fault("rtcp for a timeout that is off", "  max_calls: 1000", "  media_timeout: 0s\n  media_timeout_needs_rtcp: «true\n  max_calls: 1000",
			"mediation.media_timeout_needs_rtcp is of no use: mediation.media_timeout is off; remove it"),
		fault("more calls than ports", "max_calls: 1000", "max_calls: «2001",
			"mediation.max_calls 2001 is more than the 2000 calls that mediation.ports 60000-64000 has room for; widen the range or lower the limit"),
		fault("single NIC", "media_address: 198.51.100.10", "media_address: «192.0.2.10",
			"mediation.gateway.media_address puts the media of both sides on the one address 192.0.2.10 (single-NIC): calls of the pool and of the telephone network are then separated by port numbers alone; give each side an address of its own"),
		{name: "single NIC halves the room", old: "media_address: 198.51.100.10", broken: "media_address: «192.0.2.10", more: []string{"max_calls: 1000", "max_calls: «1001"},
			want: []string{
				"mediation.gateway.media_address puts the media of both sides on the one address 192.0.2.10 (single-NIC): calls of the pool and of the telephone network are then separated by port numbers alone; give each side an address of its own",
				"mediation.max_calls 1001 is more than the 1000 calls that mediation.ports 60000-64000 has room for; widen the range or lower the limit"}},
	})
}

func TestKeyThatEveryoneCanRead(t *testing.T) {
	folder := certificateFolder(t)
	if err := os.Chmod(filepath.Join(folder, "causeway.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(valid), testHost(), nil)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "c.yaml:22:12: mediation.pool.tls.key") {
		t.Errorf("got %v, %v", warnings, err)
	}
}

func TestEphemeralPorts(t *testing.T) {
	folder := certificateFolder(t)
	const (
		relayPlace     = "c.yaml:9:10: relay.ports 50000-59999 overlaps %s of the ports the kernel gives to outgoing connections (%s), so another program may hold a port when a call needs it; reserve the range: sysctl -w net.ipv4.ip_local_reserved_ports=%s"
		mediationPlace = "c.yaml:28:10: mediation.ports 60000-64000 overlaps %s of the ports the kernel gives to outgoing connections (%s), so another program may hold a port when a call needs it; reserve the range: sysctl -w net.ipv4.ip_local_reserved_ports=%s"
	)
	for _, tt := range []struct {
		name, kernel, reserved string
		want                   []string
	}{
		{"apart", "32768\t49999", "", nil},
		{"default of Linux", "32768\t60999", "", []string{
			fmt.Sprintf(relayPlace, "50000-59999", "32768-60999", "50000-64000"),
			fmt.Sprintf(mediationPlace, "60000-60999", "32768-60999", "50000-64000")}},
		{"one port", "32768 50000", "", []string{fmt.Sprintf(relayPlace, "50000-50000", "32768-50000", "50000-59999")}},
		{"reserved", "32768\t60999", "50000-64000", nil},
		{"reserved in pieces", "32768\t60999", "50000-57000,57001,57002-60500,60501-64000", nil},
		{"reserved as far as it overlaps", "32768\t60999", "50000-60999", nil},
		{"reserved in part", "32768\t60999", "50000-59999", []string{fmt.Sprintf(mediationPlace, "60000-60999", "32768-60999", "50000-64000")}},
		{"reserved for others", "32768\t60999", "8080,9148,50000-59999", []string{fmt.Sprintf(mediationPlace, "60000-60999", "32768-60999", "8080,9148,50000-64000")}},
		{"whole range", "1024\t65535", "60000-64000", []string{fmt.Sprintf(relayPlace, "50000-59999", "1024-65535", "50000-64000")}},
		{"no /proc", "", "", nil},
		{"unreadable text", "a b", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := testHost()
			h.readFile = func(name string) ([]byte, error) {
				switch {
				case name == ephemeralFile && tt.kernel != "":
					return []byte(tt.kernel + "\n"), nil
				case name == reservedFile && tt.kernel != "":
					return []byte(tt.reserved + "\n"), nil
				case name == ephemeralFile || name == reservedFile:
					return nil, errors.New("not there")
				}
				return os.ReadFile(name)
			}
			_, warnings, err := parse(filepath.Join(folder, "c.yaml"), []byte(valid), h, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				got = append(got, strings.TrimPrefix(w.String(), folder+"/"))
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestAdviceIsTaken follows the advice and expects silence.
func TestAdviceIsTaken(t *testing.T) {
	folder := certificateFolder(t)
	reserved := "9148"
	h := testHost()
	h.readFile = func(name string) ([]byte, error) {
		switch name {
		case ephemeralFile:
			return []byte("32768\t60999\n"), nil
		case reservedFile:
			return []byte(reserved), nil
		}
		return os.ReadFile(name)
	}
	_, warnings, _ := parse(filepath.Join(folder, "c.yaml"), []byte(valid), h, nil)
	if len(warnings) != 2 {
		t.Fatalf("want two warnings, got %v", warnings)
	}
	_, reserved, _ = strings.Cut(warnings[0].Text, "ip_local_reserved_ports=")
	if _, warnings, _ = parse(filepath.Join(folder, "c.yaml"), []byte(valid), h, nil); len(warnings) != 0 {
		t.Errorf("after %q: %v", reserved, warnings)
	}
	if !strings.HasPrefix(reserved, "9148,") {
		t.Errorf("%q drops what was reserved", reserved)
	}
}

func TestPairs(t *testing.T) {
	for _, tt := range []struct {
		r    PortRange
		want int
	}{
		{PortRange{60000, 64000}, 2000},
		{PortRange{60000, 63999}, 2000},
		{PortRange{60001, 64000}, 1999},
		{PortRange{60000, 60001}, 1},
		{PortRange{60000, 60000}, 0},
		{PortRange{60001, 60001}, 0},
		{PortRange{60001, 60002}, 0},
		{PortRange{60001, 60003}, 1},
		{PortRange{1024, 65535}, 32256},
	} {
		if got := tt.r.Pairs(); got != tt.want {
			t.Errorf("%v: %d pairs, want %d", tt.r, got, tt.want)
		}
	}
}
