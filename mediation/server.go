// Package mediation carries calls between a pool of SIP clients, whose media
// is SRTP, and one gateway, PBX or SIP trunk, whose media is RTP.
//
// A Call is two SIP sessions and a media bridge between them. Each call has
// one goroutine, which owns it: events of both sessions, orders to stop and
// its ring timer meet there and nowhere else. The media of all calls runs on
// the workers of the media plane; a call only sets it up, and asks it for
// figures at the end.
package mediation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/mediation/number"
	"causeway/mediation/sip"
	"causeway/qos"
	"causeway/qos/qoe"
)

// Spool takes the records of ended calls. Append must not block.
type Spool interface{ Append(*qoe.Record) bool }

// Config is what a Server needs beside its settings.
type Config struct {
	*conf.Mediation
	Spool     Spool
	Log       *slog.Logger
	UserAgent string // Server and User-Agent header
}

// Server is one Mediation Server.
type Server struct {
	cfg       Config
	log       *slog.Logger
	plane     *media.Plane
	numbering sip.Numbering
	spool     Spool
	sides     [2]side
	counters  counters
	now       func() time.Time
	running   sync.WaitGroup // the calls' goroutines

	// What a call is made with; tests of calls alone put their own here.
	openBridge   func(id string) (bridge, error)
	inviteCallee func(in incoming, offer []byte, post func(sip.Event) bool) invited

	mu       sync.Mutex // guards the following
	calls    map[string]*Call
	draining bool
	rate     rate
	refusals rate // records of refusals by admission
}

// refusalRecords is how many refusals by admission have a record, a second.
const refusalRecords = 10

// shutdownGrace bounds the BYEs and CANCELs of a server that stops.
const shutdownGrace = 3 * time.Second

// New binds both sides' listeners and makes the media plane. Run starts them.
// Errors name the listener and address.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, log: cfg.Log, spool: cfg.Spool, calls: map[string]*Call{}, now: time.Now}
	s.counters.init()
	s.rate, s.refusals = newRate(cfg.MaxCallRate, s.now()), newRate(refusalRecords, s.now())
	s.openBridge, s.inviteCallee = s.openMedia, s.invite
	profile, err := number.Compile(cfg.NumberRules())
	if err != nil {
		return nil, err
	}
	s.numbering = sip.Numbering{
		RemovePlus: cfg.RemovePlus, Profile: profile, Hide: hostsOf(cfg.Mediation), Withheld: &sip.Withheld{},
	}
	s.plane, err = media.NewPlane(media.Config{
		First: cfg.Ports.First, Last: cfg.Ports.Last,
		PoolAddr: cfg.Pool.MediaAddress, GatewayAddr: cfg.Gateway.MediaAddress,
		Marks: qos.ForCalls(cfg.QoSEnabled), Log: cfg.Log,
		OnBridgeError: s.mediaFailed,
	})
	if err != nil {
		return nil, fmt.Errorf("media plane: %w", err)
	}
	if err := s.openSides(); err != nil {
		return nil, errors.Join(err, s.closeSides())
	}
	return s, nil
}

// incoming makes a call of an INVITE; it runs on a transport's goroutine.
func (s *Server) incoming(from media.Side, session *sip.Session) {
	in := incoming{from: from, parties: sip.PartiesOf(session.Invite()), offer: session.SDP(), hops: session.HopsLeft()}
	call := newCall(s, newCallID(), in, session)
	session.Own(call.post(theCaller))
	// Admission was asked before there was a session, and others may have been
	// let in since.
	s.mu.Lock()
	var refusal *sip.Failure
	switch {
	case s.draining:
		refusal = s.noAdmission(atDraining, "shutting down")
	case len(s.calls) >= s.cfg.MaxCalls:
		refusal = s.noAdmission(atMaxCalls, "max_calls reached")
	default:
		s.calls[call.id] = call
	}
	s.mu.Unlock()
	if refusal != nil {
		call.turnAway(refusal)
		return
	}
	s.counters.started(call.record.Direction)
	s.running.Go(call.run)
}

// invite calls the other side, with our offer.
func (s *Server) invite(in incoming, offer []byte, post func(sip.Event) bool) invited {
	to := &s.sides[other(in.from)]
	out := s.present(in.from, in.parties)
	invite := to.endpoint.NewInvite(out.RequestURI, out.From, out.To, in.hops, out.Headers...)
	return invited{session: to.endpoint.Invite(invite, offer, post), sent: out}
}

func (s *Server) openMedia(id string) (bridge, error) {
	b, err := s.plane.Open(id)
	if err != nil {
		return nil, err // not a nil *media.Bridge in an interface
	}
	return b, nil
}

func newCallID() string {
	id, err := uuid.NewV7() // sorts by time, so that records and logs do
	if err != nil {
		id = uuid.New()
	}
	return strings.ReplaceAll(id.String(), "-", "")
}

// refused records an attempt that was refused before it became a call. Of what
// admission refuses, a few in a second have a record and all are counted: a
// flood must not fill the spool.
func (s *Server) refused(from media.Side, a sip.Attempt, f *sip.Failure) {
	now := s.now()
	if f.Code == 503 {
		s.mu.Lock()
		kept := s.refusals.take(now)
		s.mu.Unlock()
		if !kept {
			return
		}
	}
	r := &qoe.Record{
		Version: qoe.Version, ID: newCallID(), Direction: directionNames[from],
		CallIDs: map[string]string{sideNames[from]: a.CallID}, Received: numbersOf(a.Parties),
		Invite: now, End: now, Code: f.Code, Reason: phraseOf(f), EndedBy: causeway,
	}
	s.counters.ended(r.Direction, r.Code, false)
	if !s.spool.Append(r) {
		s.log.Error("record not kept: the spool is full", "call", r.ID)
	}
}

// present is how a call that came from one side is shown to the other.
func (s *Server) present(from media.Side, p sip.Parties) sip.Parties {
	to := &s.sides[other(from)]
	if from == media.Pool {
		return s.numbering.ToGateway(p, to.hop, to.endpoint.Host())
	}
	return s.numbering.FromGateway(p, to.hop, to.endpoint.Host())
}

// mediaFailed ends the call whose bridge failed.
func (s *Server) mediaFailed(id string, err error) {
	s.log.Error("media of a call failed", "call", id, "err", err)
	s.mu.Lock()
	call := s.calls[id]
	s.mu.Unlock()
	if call != nil {
		call.end("media failed")
	}
}

func (s *Server) forget(c *Call) {
	s.mu.Lock()
	delete(s.calls, c.id)
	s.mu.Unlock()
}

func (s *Server) snapshot() []*Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Call, 0, len(s.calls))
	for _, c := range s.calls {
		out = append(out, c)
	}
	return out
}

// RunMedia runs the media plane until ctx ends.
func (s *Server) RunMedia(ctx context.Context) error { return s.plane.Run(ctx) }

// Run serves calls until ctx ends; then it refuses new ones, ends those that
// are up with BYE, waits for all of them and closes both sides. RunMedia must
// run longer than Run.
func (s *Server) Run(ctx context.Context) error {
	for _, sd := range s.sides {
		sd.endpoint.Serve()
	}
	<-ctx.Done()
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	calls := s.snapshot()
	for _, c := range calls {
		c.end("shutting down")
	}
	for _, c := range calls {
		c.waitDone(grace)
	}
	for _, sd := range s.sides {
		sd.endpoint.Drain(grace)
	}
	// A callee that never answered its CANCEL holds its call open; the calls
	// end for want of their transactions when the sides close.
	for _, c := range s.snapshot() {
		c.end("closed")
	}
	err := s.closeSides()
	s.running.Wait()
	return err
}

func (s *Server) closeSides() error {
	var errs []error
	for _, sd := range s.sides {
		if sd.endpoint != nil {
			errs = append(errs, sd.endpoint.Close())
		}
	}
	return errors.Join(errs...)
}

// Ready says whether new calls can be taken.
func (s *Server) Ready() error {
	s.mu.Lock()
	draining := s.draining
	s.mu.Unlock()
	if draining {
		return errors.New("shutting down")
	}
	for _, side := range []media.Side{media.Pool, media.Gateway} {
		if s.plane.PortsFree(side) == 0 {
			return errors.New("no media port is free on the " + sideNames[side] + " side of " + strconv.Itoa(s.plane.PortsTotal(side)) + " pairs")
		}
	}
	return s.sidesReady()
}
