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
//	srv      "true": a name without a port is left without one, and looked up by SRV
//	user     "required": a SIP URI names a user, as an address of record does
//	without  keys of the section's type that are no settings here, separated by commas
//	single   a list is refused with the reason that there is exactly one gateway
package conf

import "net/netip"

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

// TLS names PEM files and says what is asked of peers. After a successful Load all files were read, parsed, matched and
// found in date.
type TLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	CA          string `yaml:"ca"` // who must have signed a peer's certificate; empty: the authorities of the host
	// CRL holds revocation lists, PEM or DER, which refuse certificates, and all of an authority whose list has expired.
	CRL string `yaml:"crl"`
	// Clients says whether those who connect have to show a certificate; of the gateway it is always required, and empty
	// where the relay serves.
	Clients ClientAuth `yaml:"clients" default:"optional" values:"required|optional|off"`
	// Name is what the certificate of a gateway at an address has to carry; empty: the address itself.
	Name string `yaml:"name"`
}

// ClientAuth says whether peers that connect by TLS show a certificate.
type ClientAuth string

// The words of ClientAuth. A certificate that is shown is verified under each of them but ClientsOff, which asks for none.
const (
	ClientsRequired ClientAuth = "required"
	ClientsOptional ClientAuth = "optional"
	ClientsOff      ClientAuth = "off"
)
