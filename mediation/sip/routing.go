package sip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transport"
)

// Where a message of ours goes, and by which connection: RFC 3261 12.2.1.1 and
// 18, RFC 3263, RFC 5626.

// targets are the addresses of the next hop, best first.
func (e *Endpoint) targets() []locate.Target {
	if e.cfg.Peer != nil {
		return e.cfg.Peer.Targets()
	}
	addr, err := netip.ParseAddrPort(e.cfg.Hop.Destination())
	if err != nil {
		return nil
	}
	return []locate.Target{{Network: e.cfg.Hop.Network, Addr: addr}}
}

// report tells how a target did.
func (e *Endpoint) report(t locate.Target, f *Failure) {
	if e.cfg.Peer == nil {
		return
	}
	if f == nil {
		e.cfg.Peer.Report(t, nil)
		return
	}
	e.cfg.Peer.Report(t, f)
}

// local is the listener that stands in Via and Contact of what goes by network
// and at: the one that at came in by, else one of its address, else one of its
// family.
func (e *Endpoint) local(network string, at transport.Flow) Listener {
	best, rank := e.tp.Local(network), 0
	for _, l := range e.tp.Listeners() {
		if l.Network != network {
			continue
		}
		r := 0
		switch {
		case l.Addr == at.Local:
			r = 3
		case l.Addr.Addr() == at.Local.Addr():
			r = 2
		case at.Remote.IsValid() && l.Addr.Addr().Is4() == at.Remote.Addr().Is4():
			r = 1
		}
		if r > rank {
			best, rank = l, r
		}
	}
	return best
}

// contact is our Contact toward a peer on network, by the flow at.
func (e *Endpoint) contact(network string, at transport.Flow) *sip.ContactHeader {
	l := e.local(network, at)
	uri := sip.Uri{Scheme: "sip", Host: hostOf(l.Addr.Addr()), Port: int(l.Addr.Port())}
	if l.Network != "udp" {
		uri.UriParams.Add("transport", l.Network)
	}
	return &sip.ContactHeader{Address: uri}
}

// via is the Via of a request on network, by the flow at, with a fresh branch.
func (e *Endpoint) via(network string, at transport.Flow) *sip.ViaHeader {
	l := e.local(network, at)
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(network),
		Host: hostOf(l.Addr.Addr()), Port: int(l.Addr.Port()),
	}
	via.Params.Add("branch", sip.GenerateBranch())
	via.Params.Add("rport", "") // RFC 3581: answer to where it came from
	return via
}

// Host is this side's own host as it stands in URIs.
func (e *Endpoint) Host() string { return hostOf(e.cfg.Listen[0].Addr.Addr()) }

func hostOf(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// toward is the beginning of a flow to the next hop.
func (e *Endpoint) toward() transport.Flow {
	for _, t := range e.targets() {
		return transport.Flow{Network: t.Network, Remote: t.Addr}
	}
	return transport.Flow{}
}

// find is the connection on which a request can go at once: the one that its
// dialog uses while that is open (RFC 5626 4.3, sipgo #361), else any to where
// it has to go.
func (e *Endpoint) find(network string, w way) (transport.Flow, bool) {
	if w.flow.Network == network && network != "udp" && e.use(w.flow) {
		return w.flow, true
	}
	to, _, err := e.destination(network, w)
	if err != nil || network == "tls" {
		return transport.Flow{}, false // whose connection may be used for what, Dial knows
	}
	if w.flow.Network == "udp" && network == "udp" {
		// From the socket that the dialog came in by.
		return transport.Flow{Network: network, Local: w.flow.Local, Remote: to}, true
	}
	flow, ok := e.tp.Find(network, to)
	return flow, ok && e.use(flow)
}

// dial is find, and makes the connection when there is none.
func (e *Endpoint) dial(network string, w way) (transport.Flow, error) {
	if flow, ok := e.find(network, w); ok {
		return flow, nil
	}
	to, name, err := e.destination(network, w)
	if err != nil {
		return transport.Flow{}, err
	}
	if network == "udp" {
		name = ""
	}
	ctx, cancel := context.WithTimeout(e.ctx, connectTimeout)
	defer cancel()
	flow, err := e.tp.Dial(ctx, network, to, name)
	if err != nil && network == "tcp" && e.datagrams(w) {
		e.cfg.Log.Error("request not sent", "side", e.cfg.Side, "peer", to, "err", errTooLong)
		return flow, fmt.Errorf("%w (%w)", errTooLong, err)
	}
	if err == nil && !e.use(flow) {
		return flow, transport.ErrGone
	}
	return flow, err
}

// datagrams says whether what goes this way goes by udp when it is short.
func (e *Endpoint) datagrams(w way) bool {
	return w.target != nil && w.target.Network == "udp" || w.target == nil && w.flow.Network == "udp" && !w.asksForTCP()
}

// destination is the address a request goes to, and the name its certificate
// has to carry. In a dialog it is the route set or remote target (RFC 3261
// 12.2.1.1) as long as that is a peer of this side: what a peer writes into
// Contact must not aim us at others. A name is a peer's only when it is a
// configured one; what others resolve to is in the peer's hands.
func (e *Endpoint) destination(network string, w way) (netip.AddrPort, string, error) {
	if w.target != nil {
		return w.target.Addr, w.target.Name, nil
	}
	targets := e.targets()
	port := w.hop.Port
	if port <= 0 || port > 65535 {
		port = sip.DefaultPort(network)
	}
	if addr, err := netip.ParseAddr(strings.Trim(w.hop.Host, "[]")); err == nil {
		if addr = addr.Unmap(); e.cfg.Allow == nil || e.cfg.Allow(addr) {
			return netip.AddrPortFrom(addr, uint16(port)), e.nameAt(addr), nil
		}
	} else if addr, ok := e.known(w.hop.Host); ok {
		return netip.AddrPortFrom(addr, uint16(port)), w.hop.Host, nil
	}
	if w.flow.Network == "udp" {
		if network == "udp" {
			return w.flow.Remote, "", nil
		}
		return netip.AddrPortFrom(w.flow.Remote.Addr(), uint16(port)), "", nil
	}
	// The port that a closed connection came from cannot be dialled.
	if len(targets) == 0 {
		return netip.AddrPort{}, "", errors.New("no address of the next hop is known")
	}
	return targets[0].Addr, targets[0].Name, nil
}

// sendResponse sends a response on the flow of its request, or, when that has
// ended, on a connection to the address it came from and the port of its Via
// (RFC 3261 18.2.2).
func (e *Endpoint) sendResponse(flow transport.Flow, res *sip.Response) {
	b := []byte(res.String())
	err := e.tp.Send(flow, b)
	if err == nil || !errors.Is(err, transport.ErrGone) || flow.Network == "udp" || res.StatusCode < 200 {
		return
	}
	via := res.Via()
	if via == nil {
		return
	}
	port := via.Port
	if port <= 0 || port > 65535 {
		port = sip.DefaultPort(flow.Network)
	}
	to := netip.AddrPortFrom(flow.Remote.Addr(), uint16(port))
	name := e.nameAt(to.Addr())
	e.work.run(func() {
		ctx, cancel := context.WithTimeout(e.ctx, connectTimeout)
		defer cancel()
		again, err := e.tp.Dial(ctx, flow.Network, to, name)
		if err == nil {
			err = e.tp.Send(again, b)
		}
		if err != nil {
			e.cfg.Log.Debug("response not sent", "side", e.cfg.Side, "code", res.StatusCode, "err", err)
		}
	})
}

// known is the first address of a configured peer by its name, other than the
// next hop, whose own targets serve.
func (e *Endpoint) known(host string) (netip.Addr, bool) {
	peer := e.cfg.Known[strings.ToLower(strings.TrimSuffix(host, "."))]
	if peer == nil {
		return netip.Addr{}, false
	}
	targets := peer.Targets()
	if len(targets) == 0 {
		return netip.Addr{}, false
	}
	return targets[0].Addr.Addr(), true
}

// nameAt is what the certificate of the peer at an address has to carry.
func (e *Endpoint) nameAt(addr netip.Addr) string {
	for _, t := range e.targets() {
		if t.Addr.Addr() == addr {
			return t.Name
		}
	}
	return ""
}

// use notes that somebody has to hear of the end of a connection; false when it
// has ended already.
func (e *Endpoint) use(flow transport.Flow) bool {
	if flow.Network == "udp" {
		return true
	}
	e.mu.Lock()
	_, known := e.used[flow]
	e.used[flow] = struct{}{}
	e.mu.Unlock()
	if e.tp.Live(flow) {
		return true
	}
	if !known { // who noted it before still waits for its end
		e.mu.Lock()
		delete(e.used, flow)
		e.mu.Unlock()
	}
	return false
}

// lost is told by the transport that a connection ended.
func (e *Endpoint) lost(flow transport.Flow, err error) {
	e.cfg.Log.Debug("connection ended", "side", e.cfg.Side, "peer", flow.Remote, "err", err)
	e.mu.Lock()
	_, used := e.used[flow]
	delete(e.used, flow)
	e.mu.Unlock()
	if !used {
		return // whoever opens and closes connections makes no work beyond them
	}
	for _, s := range e.snapshot() {
		s.flowLost(flow)
	}
	e.lostExchanges(flow)
}

// connectTimeout bounds TCP and TLS set-up of an outgoing request: Timer B,
// 64*T1 (RFC 3261 17.1.1.2).
const connectTimeout = 32 * time.Second
