package mediation

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/sip"
	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transport"
)

// side is one border of the server.
type side struct {
	endpoint *sip.Endpoint
	hop      sip.Hop
	policy   conf.SRTPPolicy
	learns   media.Learning
	peer     *locate.Peer // the addresses behind hop
}

// openSides finds both peers and binds both sides' listeners.
func (s *Server) openSides() error {
	pool, gateway := s.cfg.Pool, s.cfg.Gateway
	if err := s.locate(media.Pool, pool.NextHop, "", pool.Heartbeat, pool.Listen); err != nil {
		return fmt.Errorf("mediation.pool.next_hop: %w", err)
	}
	listen := []conf.Listen{gateway.Listen}
	if err := s.locate(media.Gateway, gateway.Peer, gateway.TLS.Name, gateway.Heartbeat, listen); err != nil {
		return fmt.Errorf("mediation.gateway.peer: %w", err)
	}
	s.sides[media.Pool].policy, s.sides[media.Gateway].policy = pool.SRTP, gateway.SRTP
	s.sides[media.Pool].learns, s.sides[media.Gateway].learns = learningOf(pool.Learning), learningOf(gateway.Learning)
	cfg := s.signalling(media.Pool, pool.Listen, pool.ReliableProvisionals)
	if err := s.admitPool(&cfg); err != nil {
		return err
	}
	if err := identify(&cfg, pool.TLS, clientAuth(pool.TLS.Clients), nil); err != nil {
		return fmt.Errorf("mediation.pool.tls: %w", err)
	}
	if err := s.open(media.Pool, cfg); err != nil {
		return err
	}
	cfg = s.signalling(media.Gateway, listen, gateway.ReliableProvisionals)
	cfg.Allow = s.sides[media.Gateway].peer.Allowed
	if err := identify(&cfg, gateway.TLS, tls.RequireAndVerifyClientCert, []string{gatewayName(gateway)}); err != nil {
		return fmt.Errorf("mediation.gateway.tls: %w", err)
	}
	s.subscribe(&cfg)
	return s.open(media.Gateway, cfg)
}

// locate finds the peer of a side.
func (s *Server) locate(which media.Side, uri conf.SIPURI, name string, beat conf.Heartbeat, listen []conf.Listen) (err error) {
	sd := &s.sides[which]
	sd.hop = hopOf(uri)
	sd.peer, err = locate.New(locate.Config{
		Host: uri.Host, Port: uri.Port, Network: uri.Transport, Name: name, Resolver: s.resolver(),
		Usable:    sameFamilies(listen),
		Heartbeat: locate.Heartbeat{Interval: beat.Interval, Failures: beat.Failures, Successes: beat.Successes},
		Log:       s.log.With("side", sideNames[which]),
	})
	return err
}

func (s *Server) resolver() locate.DNS {
	if !s.cfg.Resolver.IsValid() {
		return net.DefaultResolver
	}
	return locate.Resolver(s.cfg.Resolver)
}

// sameFamilies says whether an address can be reached from one of the listeners.
func sameFamilies(listen []conf.Listen) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(listen, func(l conf.Listen) bool { return l.Addr.Addr().Is4() == a.Is4() })
	}
}

// signalling is what the settings that both sides share make of an Endpoint.
func (s *Server) signalling(which media.Side, listen []conf.Listen, reliable bool) sip.Config {
	sd := &s.sides[which]
	listeners := make([]sip.Listener, len(listen))
	for i, l := range listen {
		listeners[i] = sip.Listener{Network: l.Network, Addr: l.Addr}
	}
	limits := transport.DefaultLimits()
	limits.Connections, limits.Unproven = s.cfg.Limits.Connections, s.cfg.Limits.UnprovenConnections
	limits.ProveWithin = s.cfg.Limits.ProveWithin
	limits.MessageSize, limits.Headers = s.cfg.Limits.MessageSize, s.cfg.Limits.Headers
	return sip.Config{
		Side: sideNames[which], Listen: listeners, Limits: limits, Hop: sd.hop, Peer: sd.peer,
		Timer:    sip.SessionTimer{Expires: s.cfg.SessionTimer.Expires, Min: s.cfg.SessionTimer.Min},
		Reliable: reliable, UserAgent: s.cfg.UserAgent, Log: s.log.With("side", sideNames[which]),
		Admit:   func() *sip.Failure { return s.admit(which) },
		Invite:  func(session *sip.Session) { s.incoming(which, session) },
		Refused: func(a sip.Attempt, f *sip.Failure) { s.refused(which, a, f) },
		Carry:   func(msg sip.Message) []sip.Header { return s.carry(which, msg) },
		Phrase:  func(res *sip.Response) string { return sip.CarryPhrase(res, s.numbering) },
	}
}

func (s *Server) open(which media.Side, cfg sip.Config) (err error) {
	s.sides[which].endpoint, err = sip.Open(cfg)
	return err
}

// hostsOf are the hosts that the settings name: no text that has one of them
// crosses from one side to the other.
func hostsOf(m *conf.Mediation) []string {
	hosts := []string{m.Pool.NextHop.Host, m.Gateway.Peer.Host, m.Gateway.TLS.Name}
	hosts = append(hosts, m.Pool.PeerNames()...)
	if r := m.Gateway.Register; r != nil {
		hosts = append(hosts, r.Registrar.Host, r.AOR.Host)
	}
	return slices.DeleteFunc(hosts, func(h string) bool { return h == "" })
}

// carry is what of a message from one side the other may see.
func (s *Server) carry(from media.Side, msg sip.Message) []sip.Header {
	to := &s.sides[other(from)]
	return sip.Carry(msg, from == media.Pool, s.numbering, to.hop, to.endpoint.Host())
}

// admitPool says who may speak on the pool side: the next hop, the addresses of
// peers, and whoever is called like one of them: by certificate on tls, by DNS
// on tcp and udp.
func (s *Server) admitPool(cfg *sip.Config) error {
	pool := s.cfg.Pool
	prefixes, names := pool.PeerPrefixes(), pool.PeerNames()
	next := s.sides[media.Pool].peer
	byAddress := func(a netip.Addr) bool {
		return next.Allowed(a) || slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	cfg.Allow = byAddress
	if len(names) == 0 {
		return nil
	}
	cfg.AllowPeer = func(a netip.Addr, leaf *x509.Certificate) error {
		if byAddress(a) || transport.Carries(leaf, names) {
			return nil
		}
		return fmt.Errorf("neither its address nor its certificate is one of mediation.pool.peers (names: %s)", strings.Join(names, ", "))
	}
	// Their addresses are looked up for peers on tcp and udp, and for requests
	// whose route set names them.
	cfg.Known = make(map[string]*locate.Peer, len(names))
	for _, name := range names {
		known, err := locate.New(locate.Config{
			Host: name, Port: 5060, Network: "tcp", Resolver: s.resolver(), Usable: sameFamilies(pool.Listen), Log: cfg.Log,
		})
		if err != nil {
			return fmt.Errorf("mediation.pool.peers: %w", err)
		}
		cfg.Known[name] = known
	}
	known := cfg.Known
	cfg.Allow = func(a netip.Addr) bool {
		if byAddress(a) {
			return true
		}
		for _, p := range known {
			if p.Allowed(a) {
				return true
			}
		}
		return false
	}
	return nil
}

// identify gives an Endpoint its TLS identity; names are what a peer's
// certificate has to carry, nil leaves that to who the peer is.
func identify(cfg *sip.Config, t conf.TLS, auth tls.ClientAuthType, names []string) (err error) {
	cfg.ServerTLS, cfg.ClientTLS, err = transport.Identity(transport.IdentityOptions{
		Certificate: t.Certificate, Key: t.Key, CA: t.CA, CRL: t.CRL, ClientAuth: auth, Names: names, Log: cfg.Log,
	})
	return err
}

// learningOf is the media plane's name for a setting.
func learningOf(l conf.Learning) media.Learning {
	switch l {
	case conf.LearnStrict:
		return media.Strict
	case conf.LearnNAT:
		return media.NAT
	case conf.LearnSameIP:
	}
	return media.SameIP
}

// clientAuth is what peers that connect to the pool side have to show.
func clientAuth(c conf.ClientAuth) tls.ClientAuthType {
	switch c {
	case conf.ClientsRequired:
		return tls.RequireAndVerifyClientCert
	case conf.ClientsOff:
		return tls.NoClientCert
	case conf.ClientsOptional:
	}
	return tls.VerifyClientCertIfGiven
}

// gatewayName is what the certificate of the gateway has to carry, exactly: its
// configured name (seed G8).
func gatewayName(g conf.GatewaySide) string {
	if g.TLS.Name != "" {
		return g.TLS.Name
	}
	return g.Peer.Host
}

// subscribe adds what a trunk asks for: digest and a registration.
func (s *Server) subscribe(cfg *sip.Config) {
	g := s.cfg.Gateway
	if g.Auth != nil {
		cfg.Credentials = &sip.Credentials{Username: g.Auth.Username, Password: g.Auth.Password.Reveal()}
	}
	if g.Register == nil {
		return
	}
	cfg.Register = &sip.RegistrationConfig{
		Registrar: g.Register.Registrar.String(), AOR: g.Register.AOR.String(), Expires: g.Register.Expires,
		Credentials: cfg.Credentials, Peer: cfg.Peer, Log: cfg.Log,
	}
}

func hopOf(u conf.SIPURI) sip.Hop {
	host := u.Host
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	return sip.Hop{Host: host, Port: u.Port, Network: u.Transport}
}

// up says whether calls can go to a side.
func (s *Server) up(which media.Side) bool { return s.sides[which].peer.Up() }

func (s *Server) policy(which media.Side) conf.SRTPPolicy { return s.sides[which].policy }

// sidesReady says which side's peer is down.
func (s *Server) sidesReady() error {
	for _, which := range []media.Side{media.Pool, media.Gateway} {
		if !s.up(which) {
			why := " does not answer OPTIONS"
			if len(s.sides[which].peer.Status()) == 0 {
				why = " has no address that DNS knows of"
			}
			return errors.New("the " + sideNames[which] + " side's peer " + s.sides[which].hop.Host + why)
		}
	}
	return nil
}
