package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"causeway/internal/conf"
	"causeway/relay/auth"
	"causeway/relay/issue"
)

type credentialsCmd struct {
	User   string        `required:"" placeholder:"NAME" help:"User whom the credential is for, and whom quotas count."`
	TTL    time.Duration `name:"ttl" placeholder:"8h" help:"How long it is good; without it as long as the configuration says."`
	Side   string        `enum:"external,internal" default:"external" help:"Side whose addresses of the relay are printed: external or internal."`
	JSON   bool          `name:"json" help:"Print what the HTTPS endpoint would answer."`
	Config string        `short:"c" placeholder:"FILE" help:"Configuration file; without it the lab with its state in ./state."`
}

// Validate checks what kong cannot know.
func (c *credentialsCmd) Validate() error {
	if c.TTL != 0 && c.TTL < time.Second {
		return errors.New("--ttl must be 1s or more")
	}
	return nil
}

// Run issues one credential. Nothing has to be serving: the key is all it takes.
func (c *credentialsCmd) Run(std streams) error {
	relay, err := c.relay(std)
	if err != nil {
		return err
	}
	grant, err := c.grant(relay)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if grant.Clamped {
		fmt.Fprintf(std.err, "warning: %s was asked for; relay.credentials.max_lifetime allows %s\n", c.TTL, grant.Lifetime)
	}
	answer := grant.Answer(issue.URIs(relay, issue.Side(c.Side)))
	if c.JSON {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		return out.Encode(answer)
	}
	printCredential(std.out, grant, answer)
	return nil
}

func printCredential(out io.Writer, grant issue.Grant, answer issue.Answer) {
	fmt.Fprintf(out, "username:  %s\npassword:  %s\nexpires:   %s (in %s)\nuris:      %s\n", answer.Username, answer.Password,
		answer.Expires.Format(time.RFC3339), grant.Lifetime, strings.Join(answer.URIs, "\n           "))
}

func (c *credentialsCmd) relay(std streams) (*conf.Relay, error) {
	if c.Config == "" {
		cfg, err := conf.Lab(labStateDir)
		if err != nil {
			return nil, fmt.Errorf("lab configuration: %w", err)
		}
		return cfg.Relay, nil
	}
	return loadRelay(c.Config, std.err)
}

// grant makes a credential of A/V authentication, or where there is none a
// time-limited one with the newest shared secret.
func (c *credentialsCmd) grant(relay *conf.Relay) (issue.Grant, error) {
	now := time.Now()
	if k := relay.Credentials; k != nil {
		signers, err := issue.LoadSigners(k)
		if err != nil {
			return issue.Grant{}, err
		}
		issuer := issue.Issuer{Signer: signers[0], Lifetime: k.Lifetime, Max: k.MaxLifetime}
		return issuer.Grant(now, c.User, int64(c.TTL/time.Second))
	}
	if len(relay.RestSecrets) == 0 {
		return issue.Grant{}, fmt.Errorf("%s: relay has neither credentials nor rest_secrets to issue from; its users have the passwords that stand there", c.Config)
	}
	lifetime := c.TTL
	if lifetime == 0 {
		lifetime = restLifetime
	}
	if lifetime > longestRest {
		return issue.Grant{}, fmt.Errorf("--ttl %s is more than the %s that a credential may last", lifetime, longestRest)
	}
	grant := issue.Grant{
		Credential: auth.RestCredential(relay.RestSecrets[0].Reveal(), c.User, now.Add(lifetime)),
		User:       c.User, Lifetime: lifetime,
	}
	if c.User == "" {
		return issue.Grant{}, errors.New("--user: empty")
	}
	// Whatever the relay would not take as a user's name is no use to anybody.
	if _, err := auth.NewCredentials(auth.Options{
		Realm: relay.Realm, Users: map[string]string{grant.Username: grant.Password},
	}); err != nil {
		return issue.Grant{}, fmt.Errorf("--user: %w", err)
	}
	return grant, nil
}

// longestRest is what relay.credentials.max_lifetime may be at most.
const longestRest = 720 * time.Hour

// restLifetime is the default of relay.credentials.lifetime, for relays
// without that section.
const restLifetime = 8 * time.Hour
