package sip

import "errors"

// The owner of the model.

// order is the owner's.
func (run *modelRun) order() {
	run.t.Helper()
	if run.gone {
		return
	}
	what := oneOf(run, "order", "accept", "provisional", "ack", "provisional sdp", "reoffer", "answer", "bye", "cancel", "reject", "refuse", "info")
	sdp := []byte(modelSDP)
	o := run.o
	run.note("order %s", what)
	if what == "bye" {
		run.bye()
		return
	}
	run.step(func(u *usage) {
		switch what {
		case "accept":
			if u.accept(sdp, nil) == nil {
				o.orderAccept()
			}
		case "provisional", "provisional sdp":
			if what == "provisional" {
				sdp = nil
			} else if u.state == Early && u.answers {
				o.orderProvisional()
			}
			u.provisional(oneOf(run, "code", 180, 183), "", sdp, nil)
		case "ack":
			o.orderAck()
			u.ackAnswer(run.answerOfAck(sdp))
		case "reoffer":
			run.reoffer(u, sdp)
		case "answer":
			if u.answerOffer(sdp) == nil {
				o.orderAnswer()
			}
		case "refuse":
			o.orderRefuse(488)
			u.refuseOffer(&Failure{Code: 488})
		case "cancel":
			o.orderCancel()
			u.cancel("", nil)
		case "reject":
			if u.state == Early && u.answers {
				run.gone = true
				o.orderReject(486)
			}
			u.reject(&Failure{Code: 486})
		case "info":
			o.orderInfo()
			u.info("application/dtmf-relay", []byte("Signal=1\r\n"))
		}
	})
}

// answerOfAck is what the owner's ACK carries: the answer to a late offer.
func (run *modelRun) answerOfAck(sdp []byte) []byte {
	if l := run.o.won; l != nil && l.offer == "theirs" && l.in == run.o.invite {
		return sdp
	}
	return nil
}

func (run *modelRun) reoffer(u *usage, sdp []byte) {
	switch err := u.reoffer(sdp); {
	case err == nil:
		run.o.orderReoffer()
	case errors.Is(err, ErrPending):
		run.o.owe(0, "event offer_again")
	}
}

// bye: an owner acknowledges what it hangs up on.
func (run *modelRun) bye() {
	run.t.Helper()
	run.step(func(u *usage) {
		run.o.orderAck()
		u.ackAnswer(run.answerOfAck([]byte(modelSDP)))
	})
	run.step(func(u *usage) {
		if u.state == Accepted || u.state == Established {
			run.o.orderBye()
			run.gone = true
		}
		u.bye("", nil)
	})
}

// hangUp is how an owner ends a session in any state.
func (run *modelRun) hangUp() {
	run.t.Helper()
	if run.gone {
		return
	}
	run.note("order hang up")
	if run.u.state != Early {
		run.bye()
		return
	}
	run.step(func(u *usage) {
		if u.answers {
			run.gone = true
			run.o.orderReject(480)
			u.reject(&Failure{Code: 480})
			return
		}
		run.o.orderCancel()
		u.cancel("", nil)
	})
}
