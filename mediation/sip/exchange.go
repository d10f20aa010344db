package sip

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
	"causeway/mediation/sip/transaction"
	"causeway/mediation/sip/transport"
)

// pending is one request outside a session, OPTIONS or REGISTER, that waits for
// its answer.
type pending struct {
	key     string
	mu      sync.Mutex // guards the following
	tx      *transaction.Client
	flow    transport.Flow
	outcome chan *sip.Response // gets the final response; closed when there is none
	done    bool
}

func (p *pending) receiveResponse(_ string, res *sip.Response, _ transport.Flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up, _ := p.tx.Receive(time.Now(), res); up && res.StatusCode >= 200 && !p.done {
		p.done = true
		p.outcome <- res
	}
}

func (p *pending) receiveRefuse(string) { p.end() }

// end gives the request up.
func (p *pending) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.done = true
		close(p.outcome)
	}
}

// exchange sends a request outside every dialog to the address that its
// Destination and Transport say and waits for its final response. req has
// everything but Via, User-Agent and Content-Length. The error is the
// transport's, ctx's, or a Failure 408 when nobody answered.
func (e *Endpoint) exchange(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	target, err := e.targetOf(req)
	if err != nil {
		return nil, err
	}
	if !e.work.enter() {
		return nil, transport.ErrClosed
	}
	defer e.work.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	if req.ContentLength() == nil {
		req.SetBody(req.Body())
	}
	req.AppendHeader(sip.NewHeader("User-Agent", e.cfg.UserAgent))
	req.PrependHeader(e.via(target.Network, transport.Flow{Remote: target.Addr}))
	flow, err := e.tp.Dial(ctx, target.Network, target.Addr, target.Name)
	if err != nil {
		return nil, err
	}
	p := &pending{tx: transaction.NewClient(req, isReliable(target.Network), time.Now()), flow: flow, outcome: make(chan *sip.Response, 1)}
	p.key = p.tx.Key()
	e.mu.Lock()
	e.clients[p.key] = p
	e.mu.Unlock()
	if !e.use(flow) {
		p.end()
	}
	defer func() {
		e.mu.Lock()
		delete(e.clients, p.key)
		e.mu.Unlock()
	}()
	return e.await(ctx, p, []byte(req.String()))
}

// targetOf is where a request goes, with the name that is expected there.
func (e *Endpoint) targetOf(req *sip.Request) (locate.Target, error) {
	addr, err := netip.ParseAddrPort(req.Destination())
	if err != nil {
		return locate.Target{}, err
	}
	target := locate.Target{Network: sip.NetworkToLower(req.Transport()), Addr: addr}
	for _, t := range e.targets() {
		if t.Network == target.Network && t.Addr == addr {
			return t, nil
		}
	}
	return target, nil
}

// await sends, repeats and waits.
func (e *Endpoint) await(ctx context.Context, p *pending, b []byte) (*sip.Response, error) {
	if err := e.tp.Send(p.flow, b); err != nil {
		return nil, err
	}
	for {
		p.mu.Lock()
		next := p.tx.Next()
		p.mu.Unlock()
		timer := time.NewTimer(time.Until(next))
		select {
		case res, ok := <-p.outcome:
			timer.Stop()
			if !ok {
				return nil, transport.ErrGone
			}
			return res, nil
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
		p.mu.Lock()
		resend, timedOut := p.tx.Tick(time.Now())
		p.mu.Unlock()
		if timedOut {
			return nil, &Failure{Code: 408, Local: true}
		}
		if resend {
			if err := e.tp.Send(p.flow, b); err != nil {
				return nil, err
			}
		}
	}
}

// lostExchanges gives up what waits for an answer on a connection that ended.
func (e *Endpoint) lostExchanges(flow transport.Flow) {
	e.mu.Lock()
	var lost []*pending
	for _, r := range e.clients {
		if p, ok := r.(*pending); ok && p.flow == flow {
			lost = append(lost, p)
		}
	}
	e.mu.Unlock()
	for _, p := range lost {
		p.end()
	}
}
