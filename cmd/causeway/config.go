package main

import (
	"fmt"
	"io"

	"causeway/internal/conf"
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

type checkCmd struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
}

// Run prints what is wrong with the file, or that nothing is.
func (c *checkCmd) Run(std streams) error {
	cfg, err := load(c.Config, std.err)
	if err != nil {
		return err
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
