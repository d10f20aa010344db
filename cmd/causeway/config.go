package main

import (
	"fmt"
	"io"

	"causeway/internal/conf"
	"causeway/internal/firewall"
)

// load reads a configuration and prints its faults and warnings.
func load(path string, stderr io.Writer) (*conf.Config, error) {
	cfg, warnings, err := conf.Load(path)
	for _, w := range warnings {
		fmt.Fprintln(stderr, "warning:", w)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return nil, &exitError{exitUsage, nil}
	}
	return cfg, nil
}

// loadRelay is load for commands that ask one question about the relay.
// Warnings, which are about serving, would only stand in front of the answer.
func loadRelay(path string, stderr io.Writer) (*conf.Relay, error) {
	cfg, _, err := conf.Load(path)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return nil, &exitError{exitUsage, nil}
	}
	if cfg.Relay == nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: has no relay section", path)}
	}
	return cfg.Relay, nil
}

type checkCmd struct {
	Config   string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	Firewall bool   `help:"Print what firewalls have to let through for it, and rules for nftables."`
}

// Run prints what is wrong with the file, or that nothing is; and on demand
// what the network around has to let through.
func (c *checkCmd) Run(std streams) error {
	cfg, err := load(c.Config, std.err)
	if err != nil {
		return err
	}
	if c.Firewall {
		return firewall.Write(std.out, c.Config, cfg)
	}
	roles := ""
	if cfg.Relay != nil {
		roles += " relay"
	}
	if cfg.Mediation != nil {
		roles += " mediation"
	}
	fmt.Fprintf(std.out, "%s: good; roles:%s\n", c.Config, roles)
	return nil
}
