package locate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// resolveTimeout bounds all look-ups of one peer together.
	resolveTimeout = 10 * time.Second
	// resolveEvery is the time between two look-ups. The resolver does not say
	// how long an answer is good for; a minute is short beside the TTLs in use.
	resolveEvery = time.Minute
	// resolveSoon is that time while no address is known: a host may be up
	// before its DNS is.
	resolveSoon = 5 * time.Second
	// maxRecords and maxAddresses bound what is taken from DNS: SRV records of a
	// peer and addresses of a name. More than a few are a mistake or an attack.
	maxRecords   = 16
	maxAddresses = 16
)

// services are the SRV names and default ports of the transports (RFC 3263
// 4.1 and 4.2, RFC 3261 19.1.2).
var services = map[string]struct {
	service, proto string
	port           uint16
}{
	"udp": {"sip", "udp", 5060},
	"tcp": {"sip", "tcp", 5060},
	"tls": {"sips", "tcp", 5061},
}

// Resolver asks one DNS server. It uses Go's own resolver, because the C
// library's cannot be told whom to ask; /etc/hosts still comes first.
func Resolver(server netip.AddrPort) *net.Resolver {
	return &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server.String())
		},
	}
}

// port is the port where no SRV record gives one.
func (p *Peer) port() uint16 {
	if p.cfg.Port != 0 {
		return uint16(p.cfg.Port)
	}
	return services[p.cfg.Network].port
}

// targets are the places of addrs, without those that cannot be reached.
func (p *Peer) targets(addrs []netip.Addr, port uint16) []Target {
	var out []Target
	for _, a := range addrs {
		if p.cfg.Usable == nil || p.cfg.Usable(a) {
			out = append(out, Target{Network: p.cfg.Network, Addr: netip.AddrPortFrom(a, port), Name: p.cfg.Name})
		}
	}
	return out
}

// resolve looks the peer's name up and takes what it finds. When it finds
// nothing, the old addresses stay.
func (p *Peer) resolve(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	records, err := p.lookUp(within)
	if ctx.Err() != nil {
		return ctx.Err() // we are stopping: nothing was learnt
	}
	if !slices.ContainsFunc(records, func(r record) bool { return len(r.targets) > 0 }) {
		if err == nil {
			err = fmt.Errorf("look up %s: no address that can be reached from here", p.cfg.Host)
		}
	} else {
		p.take(records)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known := len(p.health)
	switch {
	case err != nil && !p.failing:
		p.cfg.Log.Warn("peer's name does not resolve; addresses known before are kept", "peer", p.cfg.Host, "kept", known, "err", err)
	case err == nil && p.failing:
		p.cfg.Log.Info("peer's name resolves again", "peer", p.cfg.Host, "addresses", known)
	}
	p.failing = err != nil
	return err
}

// lookUp is RFC 3263 4.2. An error beside records means that some of them are
// as they were before.
func (p *Peer) lookUp(ctx context.Context) ([]record, error) {
	if p.cfg.Port == 0 {
		s := services[p.cfg.Network]
		_, found, err := p.cfg.Resolver.LookupSRV(ctx, s.service, s.proto, p.cfg.Host)
		if len(found) > 0 { // an error beside them tells of records that were malformed
			return p.lookUpTargets(ctx, found)
		}
		// Only the certainty that there is no SRV record leads on to addresses:
		// the default port of a peer whose records are out of sight for a moment
		// may be somebody else's.
		var dns *net.DNSError
		if err != nil && !(errors.As(err, &dns) && dns.IsNotFound) {
			return nil, fmt.Errorf("look up SRV records of %s: %w", p.cfg.Host, err)
		}
	}
	addrs, err := p.addresses(ctx, p.cfg.Host)
	return []record{{targets: p.targets(addrs, p.port())}}, err
}

// lookUpTargets finds the addresses of SRV records, side by side: a dead name
// must not use up the others' time.
func (p *Peer) lookUpTargets(ctx context.Context, found []*net.SRV) ([]record, error) {
	found = slices.DeleteFunc(found, func(s *net.SRV) bool { return s == nil || s.Target == "." || s.Port == 0 })
	if len(found) == 0 {
		return nil, fmt.Errorf("look up %s: its SRV records say that there is no such service (RFC 2782)", p.cfg.Host)
	}
	// The resolver has shuffled them; the draw is ours to make.
	slices.SortFunc(found, func(a, b *net.SRV) int {
		if a.Priority != b.Priority {
			return int(a.Priority) - int(b.Priority)
		}
		return strings.Compare(fmt.Sprint(a.Target, a.Port), fmt.Sprint(b.Target, b.Port))
	})
	found = found[:min(len(found), maxRecords)]
	addrs, errs := make([][]netip.Addr, len(found)), make([]error, len(found))
	var all sync.WaitGroup
	for i, s := range found {
		all.Go(func() { addrs[i], errs[i] = p.addresses(ctx, s.Target) })
	}
	all.Wait()
	records, hosts := make([]record, len(found)), map[string][]netip.Addr{}
	for i, s := range found {
		if errs[i] != nil {
			addrs[i] = p.hosts[s.Target]
		}
		hosts[s.Target] = addrs[i]
		records[i] = record{priority: s.Priority, weight: s.Weight, targets: p.targets(addrs[i], s.Port)}
	}
	p.hosts = hosts
	return records, errors.Join(errs...)
}

// addresses are those of a name, IPv4 and IPv6, in the resolver's order.
func (p *Peer) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	found, err := p.cfg.Resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	var out []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		if a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("look up %s: no address", name)
	}
	return out[:min(len(out), maxAddresses)], nil
}
