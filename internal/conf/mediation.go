package conf

import (
	"net/netip"
	"time"

	"causeway/mediation/number"
)

// Mediation is the Mediation Server role.
type Mediation struct {
	Pool    PoolSide    `yaml:"pool" need:"required"`
	Gateway GatewaySide `yaml:"gateway" need:"required" single:"gateway"`
	// Resolver is the DNS server for names of peers; zero: what the host is set up with.
	Resolver        netip.AddrPort `yaml:"resolver" derived:"what the host is set up with" port:"dns=53"`
	Ports           PortRange      `yaml:"ports" default:"60000-64000"`
	MaxCalls        int            `yaml:"max_calls" default:"1000" min:"1" max:"32000"`     // at a time; beyond: 503
	MaxCallRate     int            `yaml:"max_call_rate" default:"200" min:"1" max:"100000"` // new ones a second, with a burst of as many; beyond: 503
	Limits          SIPLimits      `yaml:"limits"`
	SessionTimer    SessionTimer   `yaml:"session_timer"`
	RemovePlus      bool           `yaml:"remove_plus_from_request_uri" default:"false"`
	QoSEnabled      bool           `yaml:"qos_enabled" default:"false"`
	LocationProfile []Rule         `yaml:"location_profile"`
	RingTimeout     time.Duration  `yaml:"ring_timeout" default:"185s" min:"1s" max:"1h"` // RFC 3261 section 16.6: timer C, more than 3 minutes
	// MediaTimeout is how long a call lasts in which one peer sends no RTP while nobody holds; 0: no matter how long.
	MediaTimeout time.Duration `yaml:"media_timeout" default:"60s" min:"0s" max:"24h"`
	// MediaTimeoutNeedsRTCP spares peers that have never sent RTCP: of those, silence says nothing.
	MediaTimeoutNeedsRTCP bool `yaml:"media_timeout_needs_rtcp" default:"false"`
}

// NumberRules is the location profile as mediation/number takes it.
func (m *Mediation) NumberRules() []number.Rule {
	rules := make([]number.Rule, len(m.LocationProfile))
	for i, r := range m.LocationProfile {
		rules[i] = number.Rule(r)
	}
	return rules
}

// complete fills what follows from other keys.
func (m *Mediation) complete() {
	if !m.Pool.MediaAddress.IsValid() && len(m.Pool.Listen) > 0 {
		m.Pool.MediaAddress = m.Pool.Listen[0].Addr.Addr()
	}
	if !m.Gateway.MediaAddress.IsValid() {
		m.Gateway.MediaAddress = m.Gateway.Listen.Addr.Addr()
	}
	m.Gateway.TLS.Clients = ClientsRequired
	if r := m.Gateway.Register; r != nil {
		switch {
		case r.Registrar == (SIPURI{}):
			r.Registrar = m.Gateway.Peer
		case r.Registrar.Transport == "":
			r.Registrar.Transport = m.Gateway.Peer.Transport
		}
	}
}

// PoolSide is the side of the encrypted calls.
type PoolSide struct {
	Listen       []Listen   `yaml:"listen" need:"required" port:"udp=5060,tcp=5060,tls=5061"`
	MediaAddress netip.Addr `yaml:"media_address" derived:"the address of the first listen"`
	SRTP         SRTPPolicy `yaml:"srtp" default:"required" values:"required|optional|rejected"`
	Learning     Learning   `yaml:"learning" default:"same_ip" values:"strict|same_ip|nat"`
	Peers        []Peer     `yaml:"peers" need:"required"` // who may send SIP on this side
	NextHop      SIPURI     `yaml:"next_hop" need:"required" via:"tls" port:"udp=5060,tcp=5060,tls=5061"`
	Heartbeat    Heartbeat  `yaml:"heartbeat"` // of NextHop
	// ReliableProvisionals offers 100rel (RFC 3262) to this side. A peer that requires it gets it in any case.
	ReliableProvisionals bool `yaml:"reliable_provisionals" default:"true"`
	TLS                  TLS  `yaml:"tls" without:"name"`
}

// PeerPrefixes returns the peers that are given by address.
func (p *PoolSide) PeerPrefixes() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, peer := range p.Peers {
		if peer.Prefix.IsValid() {
			prefixes = append(prefixes, peer.Prefix)
		}
	}
	return prefixes
}

// PeerNames returns the peers that are given by name, in lower case and without a dot at the end.
func (p *PoolSide) PeerNames() []string {
	var names []string
	for _, peer := range p.Peers {
		if peer.Name != "" {
			names = append(names, peer.Name)
		}
	}
	return names
}

// GatewaySide is the side of the telephone network. SIP is accepted from Peer alone.
type GatewaySide struct {
	Listen Listen `yaml:"listen" need:"required" port:"udp=5060,tcp=5060,tls=5060" single:"gateway"`
	// Peer is an address, a name with a port, or a name without one (Port 0), whose SRV records say where the gateway is
	// (RFC 3263 section 4.2).
	Peer                 SIPURI     `yaml:"peer" need:"required" via:"tcp" port:"udp=5060,tcp=5060,tls=5060" srv:"true" single:"gateway"`
	MediaAddress         netip.Addr `yaml:"media_address" derived:"the address of listen"`
	SRTP                 SRTPPolicy `yaml:"srtp" default:"rejected" values:"required|optional|rejected"`
	Learning             Learning   `yaml:"learning" default:"same_ip" values:"strict|same_ip|nat"`
	Heartbeat            Heartbeat  `yaml:"heartbeat"`
	ReliableProvisionals bool       `yaml:"reliable_provisionals" default:"true"` // as in PoolSide
	// TLS.Clients is always ClientsRequired: a link to a gateway is mutual.
	TLS      TLS         `yaml:"tls" without:"clients"`
	Auth     *DigestAuth `yaml:"auth"`     // nil: challenges of the gateway fail the call
	Register *Register   `yaml:"register"` // nil: no registration
}

// Peer is somebody who may send SIP on the pool side: one of the two fields is set.
type Peer struct {
	Prefix netip.Prefix
	// Name is in lower case and without a dot at the end. On tls it is compared with the certificate, exactly; on tcp and
	// udp its addresses are looked up.
	Name string
}

// String returns the peer as it is written in the file.
func (p Peer) String() string {
	if p.Name != "" {
		return p.Name
	}
	if p.Prefix.IsValid() && p.Prefix.IsSingleIP() {
		return p.Prefix.Addr().String()
	}
	return p.Prefix.String()
}

// Heartbeat is how a side's peer is watched with OPTIONS (RFC 3261 section 11).
type Heartbeat struct {
	Interval  time.Duration `yaml:"interval" default:"30s" min:"0s" max:"1h"` // 0: off
	Failures  int           `yaml:"failures" default:"3" min:"1" max:"100"`   // in a row, until it counts as down
	Successes int           `yaml:"successes" default:"1" min:"1" max:"100"`  // in a row, until it counts as up again
}

// SessionTimer is what we ask for by RFC 4028. A timer that the peer asks for is kept in any case.
type SessionTimer struct {
	Expires time.Duration `yaml:"expires" default:"30m" min:"0s" max:"24h"` // 0: we ask for none
	Min     time.Duration `yaml:"min" default:"90s" min:"90s" max:"24h"`    // Min-SE; section 5 allows no less than 90 s
}

// SIPLimits bounds what peers may take, on each side by itself.
type SIPLimits struct {
	Connections         int           `yaml:"connections" default:"1000" min:"1" max:"65536"`         // at a time; beyond: closed
	UnprovenConnections int           `yaml:"unproven_connections" default:"100" min:"1" max:"65536"` // of them without a valid request yet
	ProveWithin         time.Duration `yaml:"prove_within" default:"30s" min:"1s" max:"10m"`          // for that first request
	MessageSize         int           `yaml:"message_size" default:"65535" min:"2048" max:"1048576"`  // bytes
	Headers             int           `yaml:"headers" default:"200" min:"30" max:"10000"`             // header fields of a message
}

// DigestAuth answers challenges of the gateway (RFC 3261 section 22, RFC 8760).
type DigestAuth struct {
	Username string `yaml:"username" need:"required"`
	Password Secret `yaml:"password" need:"required"`
}

// Register keeps a binding of AOR at a registrar (RFC 3261 section 10).
type Register struct {
	// Registrar is the Request-URI of REGISTER, which goes to the gateway peer.
	Registrar SIPURI        `yaml:"registrar" derived:"the host of peer" srv:"true" port:"udp=5060,tcp=5060,tls=5060"`
	AOR       SIPURI        `yaml:"aor" need:"required" user:"required" srv:"true"` // of the trunk: with a user
	Expires   time.Duration `yaml:"expires" default:"1h" min:"60s" max:"24h"`       // asked for; what is granted counts
}

// SRTPPolicy says whether the media of one side is encrypted. A peer that cannot agree is refused with 488.
type SRTPPolicy string

// The policies of SRTPPolicy.
const (
	SRTPRequired SRTPPolicy = "required"
	SRTPOptional SRTPPolicy = "optional"
	SRTPRejected SRTPPolicy = "rejected"
)

// Learning says whose plain RTP is a call's, and where what we send goes. Under SRTP the keys say it.
type Learning string

// The ways of Learning.
const (
	LearnStrict Learning = "strict"  // the address and port of the signalling
	LearnSameIP Learning = "same_ip" // the address of the signalling; the port may differ
	LearnNAT    Learning = "nat"     // who sends first after the answer, from wherever
)

// Rule is a rule of a location profile.
type Rule struct {
	Name        string `yaml:"name" need:"required"`
	Pattern     string `yaml:"pattern" need:"required"`
	Translation string `yaml:"translation" need:"required"`
}
