package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// host is what the checks ask the machine for.
type host struct {
	now func() time.Time
	// readFile reads a whole file, of /proc among others.
	readFile func(name string) ([]byte, error)
	// mode returns the permissions of a file.
	mode func(name string) (os.FileMode, error)
}

var thisHost = host{
	now:      time.Now,
	readFile: os.ReadFile,
	mode: func(name string) (os.FileMode, error) {
		info, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		return info.Mode().Perm(), nil
	},
}

// Load reads and checks the configuration file at path. The error is of type Errors and lists every fault; a file
// that cannot be read is one fault at its first line. Warnings are given with and without an error.
func Load(path string) (*Config, []Warning, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		reason := err
		if pathError, ok := errors.AsType[*os.PathError](err); ok {
			reason = pathError.Err
		}
		at := Position{File: path, Line: 1, Column: 1}
		return nil, nil, Errors{{Position: at, Text: fmt.Sprintf("cannot be read: %v; give an existing file that this user may read", reason)}}
	}
	return Parse(path, data)
}

// Parse is Load for a file that was read already. name is what positions are reported with; the folder in it is where
// relative paths start.
func Parse(name string, data []byte) (*Config, []Warning, error) {
	return parse(name, data, thisHost, nil)
}

// parse decodes, lets fill complete what the file leaves open, and checks.
func parse(name string, data []byte, h host, fill func(*Config)) (*Config, []Warning, error) {
	r, cfg := newReport(name), &Config{}
	decoder{r}.decode(data, cfg)
	if fill != nil {
		fill(cfg)
	}
	cfg.completeFrom(filepath.Dir(name))
	checker{report: r, cfg: cfg, host: h}.check()
	warnings, err := r.result()
	if err != nil {
		return nil, warnings, err
	}
	return cfg, warnings, nil
}

// completeFrom gives absent keys the values that follow from others and makes paths relative to dir usable.
func (c *Config) completeFrom(dir string) {
	resolve := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	resolve(&c.StateDir)
	for _, t := range c.tlsSections() {
		resolve(&t.Certificate)
		resolve(&t.Key)
		resolve(&t.CA)
		resolve(&t.CRL)
	}
	if r := c.Relay; r != nil {
		r.complete()
		if k := r.Credentials; k != nil {
			resolve(&k.Certificate)
			resolve(&k.Key)
			resolve(&k.PreviousKey)
		}
	}
	if m := c.Mediation; m != nil {
		m.complete()
	}
}

// tlsSections returns the TLS sections of the roles that run, by path.
func (c *Config) tlsSections() map[string]*TLS {
	sections := map[string]*TLS{}
	if c.Relay != nil {
		sections["relay.tls"] = &c.Relay.TLS
		if c.Relay.Credentials != nil {
			sections["relay.credentials.tls"] = &c.Relay.Credentials.TLS
		}
	}
	if c.Mediation != nil {
		sections["mediation.pool.tls"] = &c.Mediation.Pool.TLS
		sections["mediation.gateway.tls"] = &c.Mediation.Gateway.TLS
	}
	return sections
}

const (
	ephemeralFile = "/proc/sys/net/ipv4/ip_local_port_range"
	reservedFile  = "/proc/sys/net/ipv4/ip_local_reserved_ports"
)

// ephemeralPorts returns the ports the kernel gives to sockets that ask for none in particular.
func (h host) ephemeralPorts() (PortRange, bool) {
	text, err := h.readFile(ephemeralFile)
	if err != nil {
		return PortRange{}, false // not Linux, or a container without /proc: nothing to warn of
	}
	words := strings.Fields(string(text))
	if len(words) != 2 {
		return PortRange{}, false
	}
	first, err1 := strconv.ParseUint(words[0], 10, 16)
	last, err2 := strconv.ParseUint(words[1], 10, 16)
	return PortRange{First: uint16(first), Last: uint16(last)}, err1 == nil && err2 == nil
}

// reservedPorts returns the ports the kernel leaves out of them.
func (h host) reservedPorts() []PortRange {
	text, err := h.readFile(reservedFile)
	if err != nil {
		return nil
	}
	var ranges []PortRange
	for entry := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		a, b, isRange := strings.Cut(entry, "-")
		if !isRange {
			b = a
		}
		first, err1 := strconv.ParseUint(a, 10, 16)
		last, err2 := strconv.ParseUint(b, 10, 16)
		if err1 == nil && err2 == nil {
			ranges = append(ranges, PortRange{First: uint16(first), Last: uint16(last)})
		}
	}
	return ranges
}
