package relay

import (
	"time"

	"causeway/relay/turn"
)

type tcpSession struct{}

func (w *worker) openTCP(now time.Time, s *session, p turn.Ports) (o turn.Opened) { return o }
func (s *session) closeTCP(now time.Time)                                         {}
func (s *session) addTCP(a *Allocation)                                           {}
func (w *worker) dial(a *turn.Action)                                             {}
func (w *worker) attach(now time.Time, a turn.Action)                             {}
