package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"causeway/internal/conf"
	"causeway/internal/life"
	"causeway/internal/netio"
	"causeway/internal/obs"
	"causeway/mediation"
	"causeway/qos/store"
	"causeway/relay"
	"causeway/relay/auth"
	"causeway/relay/issue"
	"causeway/relay/stream"
)

// labStateDir is where the lab keeps its certificates and records.
const labStateDir = "./state"

type serveCmd struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration file; without it the embedded lab runs, with its state in ./state."`
}

// Run serves until a signal.
func (s *serveCmd) Run(std streams) error {
	var cfg *conf.Config
	var err error
	if s.Config == "" {
		if cfg, err = conf.Lab(labStateDir); err != nil {
			return fmt.Errorf("lab configuration: %w", err)
		}
	} else if cfg, err = load(s.Config, std.err); err != nil {
		return err
	}
	ctx, stop := life.Signals(context.Background())
	defer stop()
	node, err := newNode(cfg, obs.NewLogger(std.err, cfg.Log.Level, cfg.Log.Format))
	if err != nil {
		return hostError(err)
	}
	tuneRuntime()
	return hostError(node.group.Run(ctx))
}

// heapGrowth is by how much the heap may grow between two garbage collections, in per cent of what lives in it. What a
// relayed packet needs is not collected, so the collector has little to do; and memory is what bounds a relay that is
// full of allocations.
const heapGrowth = 40

// tuneRuntime fits Go's runtime to servers of media. What the environment says (GOGC, GOMAXPROCS) stands.
//
// The scheduler gets one processor more than there are: network workers sleep in system calls, for which they keep their
// processor, and the scheduler takes it from them at once, at a price, if that leaves none for others. The workers have
// been counted before.
func tuneRuntime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// hostError gives errors of binding and privilege their exit code.
func hostError(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
		return &exitError{exitHost, err}
	}
	return err
}

// node is one process with the roles of its configuration.
type node struct {
	group *life.Group
	admin *obs.Admin
	spool *store.Spool
	log   *slog.Logger
}

// newNode binds everything, so that a port that is taken shows before
// anything runs. The parts start in the order in which they are added and
// stop in reverse: calls end before their media, media before the records.
func newNode(cfg *conf.Config, log *slog.Logger) (*node, error) {
	n := &node{group: life.New(log), admin: obs.NewAdmin(cfg.Admin.Listen, log), log: log}
	if err := n.admin.Listen(); err != nil {
		return nil, err
	}
	n.admin.Ready("process", n.group.Ready)
	n.group.Add("admin", n.admin.Run)
	spoolDir := filepath.Join(cfg.StateDir, "spool")
	if err := os.MkdirAll(spoolDir, 0o750); err != nil {
		return nil, fmt.Errorf("state_dir: %w", err)
	}
	var err error
	if n.spool, err = store.OpenSpool(spoolDir, spoolOptions(cfg, log)); err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	n.admin.Registry().MustRegister(spoolMetrics{n.spool})
	n.group.Add("spool", n.spool.Run)
	if cfg.Relay != nil {
		if err := n.addRelay(cfg); err != nil {
			return nil, err
		}
	}
	if cfg.Mediation == nil {
		return n, nil
	}
	server, err := mediation.New(mediation.Config{
		Mediation: cfg.Mediation, Spool: n.spool, Log: log.With("role", "mediation"), UserAgent: userAgent(),
	})
	if err != nil {
		return nil, err
	}
	n.admin.Registry().MustRegister(server)
	n.admin.Handle("/api/v1/calls", http.HandlerFunc(server.ServeCalls))
	n.admin.Ready("mediation", server.Ready)
	n.group.Add("media", server.RunMedia)
	n.group.Add("mediation", server.Run)
	return n, nil
}

// addRelay adds the A/V Edge role, and the issuing of its credentials.
func (n *node) addRelay(cfg *conf.Config) error {
	log := n.log.With("role", "relay")
	var signers []*auth.Signer
	if cfg.Relay.Credentials != nil {
		var err error
		if signers, err = issue.LoadSigners(cfg.Relay.Credentials); err != nil {
			return err
		}
	}
	edge, err := relay.New(relay.Config{Relay: cfg.Relay, Signers: signers, Engine: netio.Sockets(), Log: log})
	if err != nil {
		return err
	}
	n.admin.Registry().MustRegister(edge)
	n.admin.Handle("/api/v1/allocations", http.HandlerFunc(edge.ServeAllocations))
	n.admin.Handle("/api/v1/allocations/", http.HandlerFunc(edge.ServeAllocations))
	n.admin.Ready("relay", edge.Ready)
	n.group.Add("relay", edge.Run)
	if c := cfg.Relay.Credentials; c != nil && c.Listen.IsValid() {
		return n.addIssuer(cfg.Relay, signers, log)
	}
	return nil
}

// addIssuer adds the HTTPS server that hands out credentials of A/V authentication.
func (n *node) addIssuer(cfg *conf.Relay, signers []*auth.Signer, log *slog.Logger) error {
	c := cfg.Credentials
	certificate, err := stream.LoadCertificate(c.TLS.Certificate, c.TLS.Key, log)
	if err != nil {
		return fmt.Errorf("relay.credentials.tls: %w", err)
	}
	server, err := issue.New(issue.Options{
		Listen: c.Listen, Certificate: certificate.Get, Authority: c.TLS.CA, Log: log, URIs: issue.AllURIs(cfg),
		Issuer: issue.Issuer{Signer: signers[0], Lifetime: c.Lifetime, Max: c.MaxLifetime},
	})
	if err != nil {
		return err
	}
	if err := server.Listen(); err != nil {
		return err
	}
	n.admin.Registry().MustRegister(server)
	n.group.Add("credentials", server.Run)
	return nil
}
