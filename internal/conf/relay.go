package conf

import (
	"net/netip"
	"slices"
	"time"
)

// Relay is the A/V Edge role: STUN and TURN.
type Relay struct {
	Realm   string    `yaml:"realm" need:"required"`
	Listen  []Listen  `yaml:"listen" need:"required" port:"udp=3478,tcp=443,tls=443,dtls=5349"` // the external side
	TLS     TLS       `yaml:"tls" without:"crl,clients,name"`                                   // of tcp, tls and dtls listeners on both sides
	Workers int       `yaml:"workers" default:"0" min:"0" max:"256"`                            // 0: one for each processor
	Ports   PortRange `yaml:"ports" default:"50000-59999"`
	// RelayAddresses are what relay ports are bound on: at most one IPv4 and one IPv6 address, never none after a
	// successful Load.
	RelayAddresses []netip.Addr `yaml:"relay_addresses" derived:"the first address of each family in listen"`
	// ExternalAddress is what clients are told instead of the relay address of its family; zero: the address itself.
	ExternalAddress netip.Addr    `yaml:"external_address"`
	Internal        RelayInternal `yaml:"internal"`
	// PortQuarantine is how long a relay port rests after its allocation before another one may get it.
	PortQuarantine time.Duration `yaml:"port_quarantine" default:"30s" min:"0s" max:"10m"`
	Array          bool          `yaml:"array" default:"false"` // one of several relays that clients reach as one

	Users       Users             `yaml:"users"`
	RestSecrets []Secret          `yaml:"rest_secrets"` // newest first
	Credentials *RelayCredentials `yaml:"credentials"`  // nil: no A/V authentication
	NonceSecret Secret            `yaml:"nonce_secret"` // empty: random at every start
	// NonceLifetime is after how long a client has to take a new nonce (438).
	NonceLifetime time.Duration `yaml:"nonce_lifetime" default:"10m" min:"1m" max:"1h"`
	Lifetime      RelayLifetime `yaml:"lifetime"`
	Mobility      bool          `yaml:"mobility" default:"true"`       // RFC 8016
	StrictExpiry  bool          `yaml:"strict_expiry" default:"false"` // an allocation ends with its credential
	// LegacyChannels allows channel numbers up to 0x7FFF, as RFC 5766 had them, instead of RFC 8656's 0x4FFF.
	LegacyChannels bool `yaml:"legacy_channels" default:"false"`
	// AlternateServers are told with 300 to clients that this relay has no room for (RFC 8489 section 10).
	AlternateServers []netip.AddrPort `yaml:"alternate_servers"`

	Peers      PeerPolicy  `yaml:"peers"`
	Federation Federation  `yaml:"federation" default:"legacy" values:"closed|r2|legacy"`
	Limits     RelayLimits `yaml:"limits"`
}

// RelayInternal is the side of the organisation's own network.
type RelayInternal struct {
	Listen []Listen `yaml:"listen" port:"udp=3478,tcp=443,tls=443,dtls=5349"`
	// Peers names the peers of this side. Those that Allow names and Deny does not are reached whatever Federation says.
	Peers PeerPolicy `yaml:"peers"`
}

// RelayLifetime is how long an allocation lasts without a refresh (RFC 8656 section 7.2).
type RelayLifetime struct {
	Default time.Duration `yaml:"default" default:"10m" min:"1m" max:"1h"` // for clients that ask for none, or for less
	Max     time.Duration `yaml:"max" default:"1h" min:"1m" max:"24h"`     // never below Default
}

// RelayCredentials is A/V authentication: names and passwords made from the key of a certificate, so that all relays
// with the same certificate accept them.
type RelayCredentials struct {
	Certificate string `yaml:"certificate"` // PEM file, required
	Key         string `yaml:"key"`         // PEM file, required
	PreviousKey string `yaml:"previous_key"`
	// Lifetime is that of a credential when nobody asked for another, MaxLifetime the longest that can be asked for.
	Lifetime    time.Duration `yaml:"lifetime" default:"8h" min:"1m" max:"720h"`
	MaxLifetime time.Duration `yaml:"max_lifetime" default:"24h" min:"1m" max:"720h"`
	// Listen is where credentials are asked for, by HTTPS with mutual TLS; zero: nowhere.
	Listen netip.AddrPort `yaml:"listen"`
	TLS    TLS            `yaml:"tls" without:"crl,clients,name"` // of Listen; CA alone says whose client certificates are accepted
}

// RelayLimits bounds what clients may take. Rates count both directions together; 0 is no limit where it is allowed.
type RelayLimits struct {
	AllocationsPerUser     int `yaml:"allocations_per_user" default:"100" min:"1" max:"100000"`        // beyond: 486
	Allocations            int `yaml:"allocations" default:"10000" min:"1" max:"250000"`               // beyond: 300 or 508
	Permissions            int `yaml:"permissions" default:"256" min:"1" max:"4096"`                   // of an allocation; beyond: 508
	Channels               int `yaml:"channels" default:"256" min:"1" max:"4096"`                      // of an allocation; beyond: 508
	PacketsPerSecond       int `yaml:"packets_per_second" default:"10000" min:"0" max:"100000000"`     // of a user
	BytesPerSecond         int `yaml:"bytes_per_second" default:"12500000" min:"0" max:"100000000000"` // of a user
	Bandwidth              int `yaml:"bandwidth" default:"1250000000" min:"0" max:"100000000000"`      // bytes a second in all
	PendingConnections     int `yaml:"pending_connections" default:"1024" min:"1" max:"65536"`         // RFC 6062 section 5.2; beyond: 508
	TCPClients             int `yaml:"tcp_clients" default:"4096" min:"1" max:"1000000"`               // TCP, TLS and DTLS
	TCPClientsPerPrefix    int `yaml:"tcp_clients_per_prefix" default:"256" min:"1" max:"1000000"`     // of an IPv4 /24 or IPv6 /56
	UnauthenticatedReplies int `yaml:"unauthenticated_replies" default:"200" min:"1" max:"100000000"`  // a second, to an IPv4 /24 or IPv6 /56
	UnauthenticatedBurst   int `yaml:"unauthenticated_burst" default:"1000" min:"1" max:"100000000"`   // that may be sent at once
}

// PeerPolicy says which peers clients may reach through the relay: Deny, then Allow, then the built-in denials.
type PeerPolicy struct {
	Allow []netip.Prefix `yaml:"allow"`
	Deny  []netip.Prefix `yaml:"deny"`
}

// Federation says who may use the relay ports, by transport and direction.
type Federation string

// The policies of Federation.
const (
	FederationClosed Federation = "closed" // nobody outside: no federated audio or video
	FederationR2     Federation = "r2"     // partners of the 2007 R2 generation: TCP, outbound
	FederationLegacy Federation = "legacy" // older partners as well: TCP and UDP, both directions
)

// ReservedPort is the port of the original's SIP authentication of A/V users. No part of the relay uses it, so that a
// service that speaks it can stand beside.
const ReservedPort = 5062

// complete fills what follows from other keys.
func (r *Relay) complete() {
	if len(r.RelayAddresses) > 0 {
		return
	}
	for _, l := range r.Listen {
		addr := l.Addr.Addr()
		sameFamily := func(a netip.Addr) bool { return a.Is4() == addr.Is4() }
		if addr.IsValid() && !slices.ContainsFunc(r.RelayAddresses, sameFamily) {
			r.RelayAddresses = append(r.RelayAddresses, addr)
		}
	}
}

// RelayAddress returns the relay address of the family that a is of. a may be the zero Addr, which has none.
func (r *Relay) RelayAddress(a netip.Addr) (bound netip.Addr, ok bool) {
	i := slices.IndexFunc(r.RelayAddresses, func(own netip.Addr) bool { return a.IsValid() && own.IsValid() && own.Is4() == a.Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return r.RelayAddresses[i], true
}
