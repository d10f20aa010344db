// Package conf reads and checks the configuration: one YAML file, strict, in which every fault is found before
// anything runs and is reported with its line and column.
//
// The struct tags are the table everything else is made from: the decoder, the defaults, the suggestions for
// misspelt keys and the test that holds configs/causeway.yaml to it.
//
//	yaml     the key
//	default  the value of an absent key, as it would be written in the file
//	derived  in words, what an absent key becomes when that depends on other keys
//	need     "required": an absent key is an error
//	values   allowed words, separated by |
//	min, max bounds of a number or a duration
//	port     default port of a listener or SIP URI by network, as "udp=3478,tcp=443"
//	via      default transport of a SIP URI
//	single   a list is refused with the reason that there is exactly one gateway
package conf

import (
	"net/netip"
	"time"

	"causeway/mediation/number"
)

// Config is a whole configuration after its checks. Relative paths in it were taken as relative to the folder of the
// configuration file. It is not changed after Load, Parse or Lab returned it.
type Config struct {
	StateDir  string     `yaml:"state_dir" default:"/var/lib/causeway"`
	Engine    string     `yaml:"engine" default:"auto" values:"auto|steered|sockets"`
	Log       Log        `yaml:"log"`
	Admin     Admin      `yaml:"admin"`
	Relay     *Relay     `yaml:"relay"`     // nil: the role does not run
	Mediation *Mediation `yaml:"mediation"` // nil: the role does not run
	Quality   Quality    `yaml:"quality"`
}

// Log says how much is logged and in which shape.
type Log struct {
	Level  string `yaml:"level" default:"info" values:"debug|info|warn|error"`
	Format string `yaml:"format" default:"auto" values:"auto|text|json"`
}

// Admin is the HTTP server for metrics, health, call records and allocations. It asks nobody for a password.
type Admin struct {
	Listen netip.AddrPort `yaml:"listen" default:"127.0.0.1:8480"` // port 0: the kernel chooses
}

// Quality says how long call records are kept.
type Quality struct {
	RetentionDays int `yaml:"retention_days" default:"60" min:"1" max:"3650"`
}

// Mediation is the Mediation Server role.
type Mediation struct {
	Pool            PoolSide      `yaml:"pool" need:"required"`
	Gateway         GatewaySide   `yaml:"gateway" need:"required" single:"gateway"`
	Ports           PortRange     `yaml:"ports" default:"60000-64000"`
	MaxCalls        int           `yaml:"max_calls" default:"1000" min:"1" max:"32000"`
	RemovePlus      bool          `yaml:"remove_plus_from_request_uri" default:"false"`
	QoSEnabled      bool          `yaml:"qos_enabled" default:"false"`
	LocationProfile []Rule        `yaml:"location_profile"`
	RingTimeout     time.Duration `yaml:"ring_timeout" default:"185s" min:"1s" max:"1h"` // RFC 3261 section 16.6: timer C, more than 3 minutes
}

// NumberRules is the location profile as mediation/number takes it.
func (m *Mediation) NumberRules() []number.Rule {
	rules := make([]number.Rule, len(m.LocationProfile))
	for i, r := range m.LocationProfile {
		rules[i] = number.Rule(r)
	}
	return rules
}

// PoolSide is the side of the encrypted calls.
type PoolSide struct {
	Listen       []Listen       `yaml:"listen" need:"required" port:"udp=5060,tcp=5060,tls=5061"`
	MediaAddress netip.Addr     `yaml:"media_address" derived:"the address of the first listen"`
	SRTP         SRTPPolicy     `yaml:"srtp" default:"required" values:"required|optional|rejected"`
	Peers        []netip.Prefix `yaml:"peers" need:"required"` // who may send SIP on this side
	NextHop      SIPURI         `yaml:"next_hop" need:"required" via:"tls" port:"udp=5060,tcp=5060,tls=5061"`
	TLS          TLS            `yaml:"tls"`
}

// GatewaySide is the side of the telephone network. SIP is accepted from the address of Peer alone.
type GatewaySide struct {
	Listen       Listen     `yaml:"listen" need:"required" port:"udp=5060,tcp=5060,tls=5060" single:"gateway"`
	Peer         SIPURI     `yaml:"peer" need:"required" via:"tcp" port:"udp=5060,tcp=5060,tls=5060" single:"gateway"`
	MediaAddress netip.Addr `yaml:"media_address" derived:"the address of listen"`
	SRTP         SRTPPolicy `yaml:"srtp" default:"rejected" values:"required|optional|rejected"`
	TLS          TLS        `yaml:"tls"`
}

// SRTPPolicy says whether the media of one side is encrypted. A peer that cannot agree is refused with 488.
type SRTPPolicy string

// The policies of SRTPPolicy.
const (
	SRTPRequired SRTPPolicy = "required"
	SRTPOptional SRTPPolicy = "optional"
	SRTPRejected SRTPPolicy = "rejected"
)

// TLS names PEM files. After a successful Load all of them were read, parsed, matched and found in date.
type TLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	CA          string `yaml:"ca"` // who must have signed a peer's certificate; empty: the authorities of the host
}

// Rule is a rule of a location profile.
type Rule struct {
	Name        string `yaml:"name" need:"required"`
	Pattern     string `yaml:"pattern" need:"required"`
	Translation string `yaml:"translation" need:"required"`
}
