package main

import (
	"fmt"

	"causeway/mediation/number"
)

type numberCmd struct {
	Number string `arg:"" help:"Number as the gateway sends it."`
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file with the location profile."`
}

// Run shows what becomes of a number that arrives from the gateway, and how
// it would be presented to the gateway.
func (n *numberCmd) Run(std streams) error {
	cfg, err := load(n.Config, std.err)
	if err != nil {
		return err
	}
	if cfg.Mediation == nil {
		return &exitError{exitUsage, fmt.Errorf("%s: has no mediation section, and so no location profile", n.Config)}
	}
	profile, err := number.Compile(cfg.Mediation.NumberRules())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	num, params := number.SplitUser(n.Number)
	result := profile.Normalize(num)
	rule := result.Rule
	switch {
	case rule != "":
	case result.TimedOut:
		rule = "none (a rule exceeded its time limit)"
	case number.IsE164(num):
		rule = "none (already E.164)"
	default:
		rule = "none (no rule matches)"
	}
	e164 := "yes"
	if !result.E164 {
		e164 = "no: From is asserted with phone-context=enterprise"
	}
	out := result.Number + params
	if cfg.Mediation.RemovePlus {
		out = number.StripPlus(out)
	}
	fmt.Fprintf(std.out, "number:      %s\nrule:        %s\nresult:      %s\nE.164:       %s\nto gateway:  %s\n",
		n.Number, rule, result.Number+params, e164, out)
	return nil
}
