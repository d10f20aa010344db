package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"causeway/relay/auth"
)

func (c checker) relay(r *Relay) {
	if _, err := auth.NewCredentials(auth.Options{Realm: r.Realm}); c.sound("relay.realm") && (err != nil || len(r.Realm) > 127 || strings.ContainsAny(r.Realm, `"\`)) {
		c.errorf("relay.realm", "is no realm; write 1 to 127 characters without quotes, the domain of the users as a rule") // RFC 8489 section 14.9
	}
	c.notEmpty("relay.listen", len(r.Listen))
	c.relayUsers(r)
	c.relayAddresses(r)
	c.externalAddress(r)
	c.internalSide(r)
	c.reservedPort(r)
	c.plainOnly("relay.listen", r.Listen)
	c.plainOnly("relay.internal.listen", r.Internal.Listen)
	c.nonces(r)
	c.alternates(r)
	c.openPeers("relay.peers.allow", r.Peers.Allow, "the built-in denials protect nothing any more, this host's own services included")
	c.openPeers("relay.internal.peers.allow", r.Internal.Peers.Allow, "every peer counts as internal, and federation limits nobody")
	c.relayLimits(r)
	if r.Credentials != nil {
		c.relayCredentials(r.Credentials)
	}
}

func (c checker) relayUsers(r *Relay) {
	if c.sound("relay.users", "relay.rest_secrets", "relay.credentials") && len(r.Users) == 0 && len(r.RestSecrets) == 0 && r.Credentials == nil {
		c.errorf("relay", "has neither users nor rest_secrets nor credentials, so nobody could use it; add one of them")
	}
	for name, password := range r.Users {
		path := join("relay.users", name)
		switch {
		case !c.sound(path):
		case name == "" || len(name) > auth.MaxName || strings.Contains(name, ":"): // RFC 8489 section 14.3
			c.errorf(path, "is no user name; write 1 to %d characters without a colon", auth.MaxName)
		case password == "":
			c.errorf(path, "has no password; give one or remove the user")
		case c.sound("relay.realm"):
			_, err := auth.NewCredentials(auth.Options{Realm: r.Realm, Users: map[string]string{name: password.Reveal()}})
			if err != nil {
				c.errorf(path, "cannot be used, since clients prepare names and passwords (RFC 8265): %v; choose another", err)
			}
		}
	}
	for i, secret := range r.RestSecrets {
		if path := fmt.Sprintf("relay.rest_secrets[%d]", i); c.sound(path) && secret == "" {
			c.errorf(path, "is empty, so everyone could make credentials; give the secret or remove it")
		}
	}
	if c.sound("relay.realm", "relay.rest_secrets") {
		o := auth.Options{Realm: r.Realm, RestSecrets: make([]string, len(r.RestSecrets))}
		for i, secret := range r.RestSecrets {
			o.RestSecrets[i] = secret.Reveal()
		}
		if _, err := auth.NewCredentials(o); err != nil {
			c.errorf("relay.rest_secrets", "cannot be used: %v; keep the newest", err)
		}
	}
}

// relayAddresses checks that each family has at most one address for relay ports, so that a port number names one
// relayed transport address.
func (c checker) relayAddresses(r *Relay) {
	const list = "relay.relay_addresses"
	if !c.given(list) || !c.sound(list) {
		return
	}
	c.notEmpty(list, len(r.RelayAddresses)) // only "" or [] in the file, where nothing was derived
	first := map[bool]netip.Addr{}
	for i, a := range r.RelayAddresses {
		path := fmt.Sprintf("%s[%d]", list, i)
		if !a.IsValid() {
			c.errorf(path, "is empty; write an IP address of this host or remove it")
			continue
		}
		if before, twice := first[a.Is4()]; twice {
			c.errorf(path, "is a second %s address beside %s; relay ports are bound on one of each family, so remove one", familyName(a), before)
			continue
		}
		first[a.Is4()] = a
	}
}

// externalAddress checks what clients are told against what is bound. In an array every relay has to be reached at
// the address that it tells, or media of one would arrive at another.
func (c checker) externalAddress(r *Relay) {
	const path = "relay.external_address"
	external := r.ExternalAddress
	if !external.IsValid() || !c.sound(path, "relay.listen", "relay.relay_addresses") {
		return
	}
	bound, found := r.RelayAddress(external)
	switch {
	case !found:
		c.errorf(path, "is %s, and no relay address is %s; add one to relay.relay_addresses, or correct it", external, familyName(external))
	case r.Array && c.sound("relay.array") && external != bound:
		c.errorf(path, "is %s and the relay ports are bound on %s; with array: true each relay has to have the address that it tells clients, so remove external_address or set relay_addresses: [%s]", external, bound, external)
	}
}

func (c checker) internalSide(r *Relay) {
	for i, l := range r.Internal.Listen {
		path := fmt.Sprintf("relay.internal.listen[%d]", i)
		if !c.sound(path, "relay.listen") {
			continue
		}
		for j, outside := range r.Listen {
			if l.Addr.Addr() == outside.Addr.Addr() {
				c.warnf(path, "is on %s, where relay.listen[%d] is as well: the two sides are then separated by port numbers alone; give each side an address of its own", l.Addr.Addr(), j)
				break
			}
		}
	}
}

// reservedPort keeps the relay away from ReservedPort.
func (c checker) reservedPort(r *Relay) {
	const reason = "port 5062 stays free for the SIP authentication of A/V users, which stands there beside an A/V Edge"
	for _, e := range c.endpoints() {
		if within(e.path, "relay") && e.addr.Port() == ReservedPort {
			c.errorf(e.path, "listens on port %d: %s; choose another port", ReservedPort, reason)
		}
	}
	if c.sound("relay.ports") && r.Ports.Contains(ReservedPort) {
		c.errorf("relay.ports", "%s contains %d: %s; choose a range without it, 50000-59999 by default", r.Ports, ReservedPort, reason)
	}
}

// plainOnly warns of TCP listeners that cannot speak TLS.
func (c checker) plainOnly(path string, listen []Listen) {
	if t := c.cfg.Relay.TLS; !c.sound("relay.tls") || t.Certificate != "" || t.Key != "" {
		return
	}
	for i, l := range listen {
		if item := fmt.Sprintf("%s[%d]", path, i); c.sound(item) && l.Network == "tcp" {
			c.warnf(item, "speaks no TLS, since relay.tls names no certificate: clients behind a proxy or a firewall that lets nothing but TLS pass cannot come in; add relay.tls: {certificate: FILE, key: FILE}")
		}
	}
}

func (c checker) nonces(r *Relay) {
	const path = "relay.nonce_secret"
	if !c.sound(path) {
		return
	}
	switch n := len(r.NonceSecret); {
	case n > 0 && n < 16:
		c.errorf(path, "has %d characters, few enough to be found by trying; write at least 16 random ones, such as openssl rand -hex 16 makes", n)
	case n == 0 && r.Array && c.sound("relay.array"):
		c.warnf("relay.array", "is true and nonce_secret is not set: a client that the load balancer moves to another relay is asked to authenticate anew; write the same nonce_secret on all relays of the array")
	}
}

func (c checker) alternates(r *Relay) {
	for i, alternate := range r.AlternateServers {
		path := fmt.Sprintf("relay.alternate_servers[%d]", i)
		switch {
		case !c.sound(path):
		case !alternate.IsValid() || alternate.Port() == 0 || alternate.Addr().IsUnspecified() || alternate.Addr().IsMulticast():
			c.errorf(path, "is no address of a server; write the address and port of another relay, such as 203.0.113.11:3478")
		case c.isOurs(r, alternate):
			c.errorf(path, "is %s, this relay itself, so clients would go in circles; write the address of another relay", alternate)
		}
	}
}

func (c checker) isOurs(r *Relay, address netip.AddrPort) bool {
	for _, l := range slices.Concat(r.Listen, r.Internal.Listen) {
		outside := l.Addr.Addr()
		if bound, ok := r.RelayAddress(r.ExternalAddress); ok && outside == bound {
			outside = r.ExternalAddress
		}
		if l.Addr == address || netip.AddrPortFrom(outside, l.Addr.Port()) == address {
			return true
		}
	}
	return false
}

func (c checker) openPeers(path string, allow []netip.Prefix, consequence string) {
	for i, prefix := range allow {
		if item := fmt.Sprintf("%s[%d]", path, i); c.sound(item) && prefix.Bits() == 0 {
			c.warnf(item, "%s names every address: %s; name the networks that are meant", prefix, consequence)
		}
	}
}

func (c checker) relayLimits(r *Relay) {
	const lifetime, limits = "relay.lifetime", "relay.limits"
	if c.sound(lifetime) && r.Lifetime.Default > r.Lifetime.Max {
		path, fix := lifetime+".default", "raise max or lower it"
		if !c.given(path) {
			path, fix = lifetime+".max", "raise it"
		}
		c.errorf(path, "leads to a default lifetime of %s and a longest one of %s; %s", r.Lifetime.Default, r.Lifetime.Max, fix)
	}
	if !c.sound(limits) {
		return
	}
	l := r.Limits
	if path := limits + ".allocations_per_user"; c.given(path) && l.AllocationsPerUser > l.Allocations {
		c.warnf(path, "%d is more than the %d of limits.allocations, so it limits nobody; lower it or raise the other", l.AllocationsPerUser, l.Allocations)
	}
	if path := limits + ".tcp_clients_per_prefix"; c.given(path) && l.TCPClientsPerPrefix > l.TCPClients {
		c.warnf(path, "%d is more than the %d of limits.tcp_clients, so it limits nobody; lower it or raise the other", l.TCPClientsPerPrefix, l.TCPClients)
	}
	ports := (int(r.Ports.Last) - int(r.Ports.First) + 1) * len(r.RelayAddresses)
	if path := limits + ".allocations"; c.given(path) && c.sound("relay.ports", "relay.relay_addresses") && l.Allocations > ports {
		c.warnf(path, "%d is more than the %d UDP ports that relay.ports %s gives on the relay addresses, so clients are refused before; widen the range or lower the limit", l.Allocations, ports, r.Ports)
	}
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
