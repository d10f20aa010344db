package sip

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"

	"causeway/mediation/sip/transport"
)

// The drops of the signalling room have one list, which transport keeps.
type (
	Drop  = transport.Drop
	Drops = transport.Drops
)

const (
	DropPeerNotAllowed = transport.DropPeerNotAllowed
	DropTLSHandshake   = transport.DropTLSHandshake
	DropMalformed      = transport.DropMalformed
	DropInvalid        = transport.DropInvalid
	DropAckUnmatched   = transport.DropAckUnmatched
	DropStrayResponse  = transport.DropStrayResponse
	DropStaleAck       = transport.DropStaleAck
	DropPanic          = transport.DropPanic
)

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
