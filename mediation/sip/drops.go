package sip

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
)

// Drop is a reason for which something that arrived was not served and not
// answered.
type Drop uint8

// The drops of the signalling room. Every one has a counter from the start.
const (
	DropPeerNotAllowed Drop = iota // source address is not a peer of this side
	DropTLSHandshake               // handshake failed, refused or not finished in time
	DropMalformed                  // not a SIP message, or framing that cannot be recovered
	DropInvalid                    // a request so broken that no response can be addressed
	DropAckUnmatched               // ACK for no dialog of ours (never answered, RFC 3261 17.1.1.3)
	DropStrayResponse              // response for no transaction of ours
	DropStaleAck                   // ACK whose CSeq is not the INVITE's
	DropPanic                      // a handler panicked; the request was answered 500 where possible
	dropCount
)

var dropNames = [dropCount]string{
	DropPeerNotAllowed: "peer_not_allowed",
	DropTLSHandshake:   "tls_handshake",
	DropMalformed:      "malformed",
	DropInvalid:        "invalid",
	DropAckUnmatched:   "ack_unmatched",
	DropStrayResponse:  "stray_response",
	DropStaleAck:       "stale_ack",
	DropPanic:          "panic",
}

// String is the value of the metric label "reason".
func (d Drop) String() string { return dropNames[d] }

// Drops counts by reason. Its methods are safe for concurrent use.
type Drops struct{ n [dropCount]atomic.Uint64 }

// Add counts one drop.
func (d *Drops) Add(reason Drop) { d.n[reason].Add(1) }

// Each calls f for every reason with its count so far.
func (d *Drops) Each(f func(reason string, n uint64)) {
	for i := range d.n {
		f(Drop(i).String(), d.n[i].Load())
	}
}

// stackLog is the slog.Handler given to sipgo. The library reports what it
// could not parse only through its log, so this is where such input gets its
// name and count; the rest goes on at debug level, without message contents,
// because a remote peer can provoke every line of it.
type stackLog struct {
	next  slog.Handler
	drops *Drops
}

func (s stackLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError || s.next.Enabled(ctx, slog.LevelDebug)
}

func (s stackLog) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case strings.HasPrefix(r.Message, "failed to parse"):
		s.drops.Add(DropMalformed)
	case strings.HasPrefix(r.Message, "Failed to send stateless 400"):
		s.drops.Add(DropInvalid)
	}
	if !s.next.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	quiet := slog.NewRecord(r.Time, slog.LevelDebug, "sip stack: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "data" {
			quiet.AddAttrs(a)
		}
		return true
	})
	return s.next.Handle(ctx, quiet)
}

func (s stackLog) WithAttrs(as []slog.Attr) slog.Handler {
	return stackLog{next: s.next.WithAttrs(as), drops: s.drops}
}

func (s stackLog) WithGroup(name string) slog.Handler {
	return stackLog{next: s.next.WithGroup(name), drops: s.drops}
}

func isTransient(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) ||
		errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EMSGSIZE)
}
