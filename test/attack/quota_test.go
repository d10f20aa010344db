package attack

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/relay/turn"
)

// TestPermissionsAreBounded: an allocation has as many permissions and channels as it may, and those that it has can be
// refreshed; more than those, be it one by one or thousands in one message, are refused and leave nothing.
func TestPermissionsAreBounded(t *testing.T) {
	t.Parallel()
	const permissions, channels = 8, 4
	r := start(t, settings{limits: unlimited + ", permissions: " + strconv.Itoa(permissions) + ", channels: " + strconv.Itoa(channels)})
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 8, byte(i >> 8), byte(i)}), 9)
	}
	r.whileServing(t, func(t *testing.T) {
		c := r.udpClient(t, elsewhere).meet()
		c.allocate()
		for i := range channels {
			c.must(turn.MethodChannelBind, channel(0x4000+uint16(i)), peer(at(i)))
		}
		for i := range permissions - 1 {
			c.must(turn.MethodCreatePermission, peer(at(i)))
		}
		var thousands, one []attr
		for i := range 5000 {
			thousands, one = append(thousands, peer(at(i))), append(one, peer(at(0)))
		}
		const rounds = 500
		r.counting(t, counts{answered(turn.CodeInsufficientCapacity): rounds*2 + 12}, func() {
			want := func(what string, m turn.Method, attrs ...attr) {
				t.Helper()
				if code := c.ask(m, attrs...).code; code != turn.CodeInsufficientCapacity {
					t.Errorf("%s: %d, want 508", what, code)
				}
			}
			for i := range rounds {
				want("a channel too many", turn.MethodChannelBind, channel(0x4100+uint16(i)), peer(at(100+i)))
				want("two permissions, for one of which there is room", turn.MethodCreatePermission, peer(at(100+i)), peer(at(1000+i)))
			}
			for range 10 {
				want("five thousand permissions at once", turn.MethodCreatePermission, thousands...)
			}
			c.must(turn.MethodCreatePermission, one...)
			c.must(turn.MethodCreatePermission, peer(at(permissions-1)))
			want("a permission too many", turn.MethodCreatePermission, peer(at(permissions)))
			want("a channel too many", turn.MethodChannelBind, channel(0x4100), peer(at(permissions-1)))
			for i := range channels {
				c.must(turn.MethodChannelBind, channel(0x4000+uint16(i)), peer(at(i)))
			}
		})
		if a := r.allocation(t, c.local()); len(a.Permissions) != permissions || a.Channels != channels {
			t.Errorf("%d permissions and %d channels, want %d and %d", len(a.Permissions), a.Channels, permissions, channels)
		}
	})
}

// TestAllocationsAreBounded: a user has as many allocations as one may, and all users together as many as there may be,
// whoever tries how often. What was refused holds no port.
func TestAllocationsAreBounded(t *testing.T) {
	t.Parallel()
	const each, all = 5, 12
	limits := unlimited + ", allocations_per_user: " + strconv.Itoa(each) + ", allocations: " + strconv.Itoa(all)
	for _, x := range []struct {
		name, relay string
		full        int
	}{
		{"alone", "", turn.CodeInsufficientCapacity},
		{"with another relay", `  alternate_servers: ["192.0.2.9:3478", "[2001:db8::9]:3478"]`, turn.CodeTryAlternate},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, settings{limits: limits, relay: x.relay})
			r.whileServing(t, func(t *testing.T) { r.allocationFlood(t, each, all, x.full) })
		})
	}
}

func (r *relay) allocationFlood(t *testing.T, each, all, full int) {
	free := r.metrics().value(t, prefix+`ports_free{family="ipv4",transport="udp"}`)
	var made []*client
	try := func(c *client, want int) {
		t.Helper()
		c.meet()
		a := c.ask(turn.MethodAllocate, relayUDP)
		if a.code != want {
			t.Errorf("the allocation of %s: %d, want %d", c.user, a.code, want)
		}
		if alternate, err := a.msg.Addr(turn.AttrAlternateServer); want == turn.CodeTryAlternate &&
			(err != nil || alternate.String() != "192.0.2.9:3478") {
			t.Errorf("the other relay is %v, %v", alternate, err)
		}
		if a.code == 0 {
			made = append(made, c)
		}
	}
	const refusals = 200
	for range each {
		try(r.udpClient(t, elsewhere).as(bob), 0)
	}
	for range refusals {
		try(r.udpClient(t, elsewhere).as(bob), turn.CodeAllocationQuota)
	}
	// The bystander has one. Users that nobody has heard of before are made by whoever has the secret.
	for i := range all - each - 1 {
		try(r.udpClient(t, elsewhere).restUser("user"+strconv.Itoa(i), time.Now().Add(time.Hour)), 0)
	}
	if status, body, err := r.get("/readyz"); err != nil || status != 503 || !strings.Contains(body, "allocations") {
		t.Errorf("/readyz of a full relay: %d %q %v", status, body, err)
	}
	for i := range refusals {
		try(r.udpClient(t, elsewhere).restUser("late"+strconv.Itoa(i), time.Now().Add(time.Hour)), full)
	}
	m := r.metrics()
	if got := free - m.value(t, prefix+`ports_free{family="ipv4",transport="udp"}`); int(got) != len(made) {
		t.Errorf("%v ports are taken, want %d", got, len(made))
	}
	if got := m.value(t, prefix+"users"); int(got) != all-each+1 {
		t.Errorf("%v users have an allocation, want %d", got, all-each+1)
	}
	for _, c := range made {
		c.must(turn.MethodRefresh, lifetime(0))
	}
	if status, body, err := r.get("/readyz"); err != nil || status != 200 {
		t.Errorf("/readyz when all have gone: %d %q %v", status, body, err)
	}
}

// TestPortsRunOut: allocations that come and go do not use up the relay ports, though those rest after use, and neither
// do reservations. Allocations that stay do: then there is no port, readiness says so, and nothing else suffers.
func TestPortsRunOut(t *testing.T) {
	t.Parallel()
	const ports, each = 16, 4
	r := start(t, settings{
		limits: unlimited + ", allocations_per_user: " + strconv.Itoa(each), ports: "50000-50015", relay: "  port_quarantine: 10m",
	})
	early := prefix + `ports_reused_early_total{family="ipv4",transport="udp"}`
	r.whileServing(t, func(t *testing.T) {
		c, other := r.udpClient(t, elsewhere).meet().as(bob), r.udpClient(t, home).meet()
		for range 20 * ports {
			c.allocate()
			c.must(turn.MethodRefresh, lifetime(0))
		}
		other.allocate()
		other.must(turn.MethodRefresh, lifetime(0))
		if got := r.metrics().value(t, early); got < 18*ports {
			t.Errorf("%v ports were taken before they had rested", got)
		}

		// Each of them holds a port for half a minute.
		var reserved []attr
		for range 4 * ports {
			switch a := c.ask(turn.MethodAllocate, relayUDP, raw(turn.AttrEvenPort, 0x80)); a.code {
			case 0:
				token, _ := a.msg.Get(turn.AttrReservationToken)
				reserved = append(reserved, raw(turn.AttrReservationToken, clone(token)...))
				c.must(turn.MethodRefresh, lifetime(0))
			case turn.CodeInsufficientCapacity:
			default:
				t.Fatalf("a reservation: %d", a.code)
			}
		}
		if len(reserved) != each {
			t.Errorf("%d ports are reserved for one user, want %d", len(reserved), each)
		}
		other.allocate()
		other.must(turn.MethodRefresh, lifetime(0))

		var made []*client
		for i := range ports - 1 - each { // the bystander's, and the reserved ones
			c := r.udpClient(t, elsewhere).restUser("user"+strconv.Itoa(i), time.Now().Add(time.Hour)).meet()
			c.allocate()
			made = append(made, c)
		}
		for range 100 {
			if a := c.ask(turn.MethodAllocate, relayUDP); a.code != turn.CodeInsufficientCapacity {
				t.Fatalf("an allocation without a port: %d, want 508", a.code)
			}
		}
		if status, body, err := r.get("/readyz"); err != nil || status != 503 || !strings.Contains(body, "port") {
			t.Errorf("/readyz without a port: %d %q %v", status, body, err)
		}
		if n := strings.Count(r.Output(), "could not be opened"); n == 0 || n > 20 {
			t.Errorf("the log has %d lines about it", n)
		}
		for _, c := range made {
			c.must(turn.MethodRefresh, lifetime(0))
		}
		for _, token := range reserved {
			c.allocate(token)
			c.must(turn.MethodRefresh, lifetime(0))
		}
		if status, body, err := r.get("/readyz"); err != nil || status != 200 {
			t.Errorf("/readyz when all have gone: %d %q %v", status, body, err)
		}
	})
}
