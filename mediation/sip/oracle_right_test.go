package sip

// oracleRight are sessions with nothing wrong. RFC 3665 and RFC 5407 show most of
// them.
var oracleRight = map[string]string{
	"callee (RFC 3665 3.1)": `
		in INVITE 1 sdp
		out 100 INVITE 1
		order provisional
		out 180 INVITE 1
		order accept
		out 200 INVITE 1 sdp
		in ACK 1
		event confirmed
		in BYE 2
		out 200 BYE 2
		event ended`,
	"callee, late offer": `
		in INVITE 1
		order accept
		out 200 INVITE 1 sdp
		in ACK 1 sdp
		event confirmed
		order bye
		out BYE 1
		in 200 BYE 1`,
	"callee, 2xx sent again until the ACK (RFC 3261 13.3.1.4)": `
		in INVITE 1 sdp
		order accept
		out 200 INVITE 1 sdp
		at 0.5
		out 200 INVITE 1 sdp
		at 1.5
		out 200 INVITE 1 sdp
		at 3.5
		out 200 INVITE 1 sdp
		at 7.5
		out 200 INVITE 1 sdp
		in INVITE 1 sdp        # again: absorbed (RFC 6026)
		in ACK 1
		event confirmed
		at 11.5
		in ACK 1
		at 40`,
	"callee, no ACK": scriptNoAck + `
		event unconfirmed
		order bye
		out BYE 1`,
	"callee, the owner hangs up before the ACK (RFC 3261 15)": `
		in INVITE 1 sdp
		order accept
		out 200 INVITE 1 sdp
		order bye
		at 0.3
		in ACK 1
		out BYE 1`,
	"callee, CANCEL (RFC 3665 3.8)": `
		in INVITE 1 sdp
		out 180 INVITE 1
		in CANCEL 1
		out 200 CANCEL 1
		out 487 INVITE 1
		event cancelled
		in CANCEL 1`,
	"callee, CANCEL too late (RFC 5407 3.1.2)": `
		in INVITE 1 sdp
		order accept
		out 200 INVITE 1 sdp
		in CANCEL 1
		out 200 CANCEL 1
		in ACK 1
		event confirmed`,
	"callee, CANCEL of nothing": `
		in INVITE 1 sdp
		in CANCEL 9
		out 481 CANCEL 9`,
	"callee, BYE in the early dialog (RFC 3261 15.1.2)": `
		in INVITE 1 sdp
		out 180 INVITE 1
		in BYE 2
		out 200 BYE 2
		out 487 INVITE 1
		event ended`,
	"callee, reliable (RFC 3262)": `
		in INVITE 1 sdp rel
		order provisional
		out 183 INVITE 1 sdp rseq=7
		at 0.5
		out 183 INVITE 1 sdp rseq=7
		order accept           # held back
		at 1
		in PRACK 2 rack=7/1
		out 200 PRACK 2
		out 200 INVITE 1
		in ACK 1
		event confirmed`,
	"callee, late offer in a reliable response": `
		in INVITE 1 rel
		out 183 INVITE 1 sdp rseq=1
		in PRACK 2 rack=1/1 sdp
		out 200 PRACK 2
		event offer_answered
		order provisional
		out 180 INVITE 1 rseq=2
		in PRACK 3 rack=2/1
		out 200 PRACK 3
		order accept
		out 200 INVITE 1
		in ACK 1
		event confirmed`,
	"callee, PRACK of nothing": `
		in INVITE 1 sdp rel
		out 183 INVITE 1 rseq=1
		in PRACK 2 rack=2/1
		out 481 PRACK 2
		in PRACK 3 rack=1/1
		out 200 PRACK 3
		in PRACK 4 rack=1/1
		out 481 PRACK 4`,
	"callee, the reliable response is never acknowledged": scriptNoPrack + `
		out 503 INVITE 1
		event ended`,
	"callee, the peer changes the session (RFC 3665 3.7)": scriptTalking + `
		in INVITE 2 sdp
		event offered
		in INVITE 3 sdp        # 14.2
		out 500 INVITE 3 later
		in UPDATE 4 sdp        # RFC 3311 5.2
		out 500 UPDATE 4 later
		order answer
		out 200 INVITE 2 sdp
		in ACK 2
		in INVITE 5
		event offered
		order answer
		out 200 INVITE 5 sdp
		in UPDATE 6 sdp
		out 491 UPDATE 6
		in ACK 5 sdp
		event offer_answered
		in UPDATE 7 sdp
		event offered
		order refuse 488
		out 488 UPDATE 7
		in UPDATE 8
		out 200 UPDATE 8`,
	"callee, numbers of the past (RFC 3261 12.2.2)": scriptTalking + `
		in INVITE 20 sdp
		event offered
		in BYE 19
		out 500 BYE 19
		order answer
		out 200 INVITE 20 sdp
		in ACK 20
		in INFO 20
		out 500 INFO 20
		in INFO 21 dtmf
		out 200 INFO 21
		event info
		in INFO 22 foreign
		out 415 INFO 22
		in REFER 23
		out 603 REFER 23
		in MESSAGE 24
		out 405 MESSAGE 24`,
	"callee, hold by us, and glare (RFC 3261 14.1)": scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		in INVITE 2 sdp
		out 491 INVITE 2
		in 491 INVITE 1
		at 1
		event offer_again
		order reoffer
		out INVITE 2 sdp
		in 100 INVITE 2
		in 200 INVITE 2 sdp
		out ACK 2 branch=x
		event offer_answered
		at 1.5
		in 200 INVITE 2 sdp
		out ACK 2 branch=x
		order bye
		out BYE 3`,
	"callee, BYE from both sides (RFC 5407 3.2.3)": scriptTalking + `
		order bye
		out BYE 1
		in BYE 2
		out 200 BYE 2
		in 200 BYE 1`,
	"callee, BYE while the peer waits for an answer": scriptTalking + `
		in INVITE 2 sdp
		event offered
		in BYE 3
		out 200 BYE 3
		out 487 INVITE 2
		event ended`,
	"callee, our request meets 481 (RFC 5057)": scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		in 481 INVITE 1
		event ended`,
	"callee, our offer is refused": scriptTalking + `
		order reoffer
		out UPDATE 1 sdp
		in 488 UPDATE 1
		event offer_refused`,
	"callee, another dialog's tag": scriptTalking + `
		in BYE 2 tag=q
		out 481 BYE 2 tag=q`,

	"caller (RFC 3665 3.1)": `
		out INVITE 1 sdp
		in 100 INVITE 1 tag=
		in 180 INVITE 1
		event progress
		in 200 INVITE 1 sdp
		event answered
		order ack
		out ACK 1 branch=a
		at 0.5
		in 200 INVITE 1 sdp
		out ACK 1 branch=a
		in BYE 1
		out 200 BYE 1
		event ended`,
	"caller, refused": `
		out INVITE 1 sdp
		in 486 INVITE 1
		out ACK 1 branch=INVITE1
		event failed`,
	"caller, no answer (RFC 3261 17.1.1.2)": `
		out INVITE 1 sdp
		at 32
		event failed`,
	"caller, forks (RFC 3261 13.2.2.4)": `
		out INVITE 1 sdp
		in 180 INVITE 1 tag=a
		event progress
		in 183 INVITE 1 tag=b sdp
		event progress
		in 200 INVITE 1 tag=b sdp
		event answered
		order ack
		out ACK 1 tag=b branch=x
		in 200 INVITE 1 tag=a sdp
		out ACK 1 tag=a branch=y
		out BYE 2 tag=a
		in 200 INVITE 1 tag=a sdp
		out ACK 1 tag=a branch=y`,
	"caller, CANCEL (RFC 3261 9.1)": `
		out INVITE 1 sdp
		order cancel
		in 100 INVITE 1 tag=
		out CANCEL 1
		in 200 CANCEL 1
		in 487 INVITE 1
		out ACK 1 branch=INVITE1
		event failed`,
	"caller, CANCEL loses (RFC 5407 3.1.2)": `
		out INVITE 1 sdp
		in 180 INVITE 1
		event progress
		order cancel
		out CANCEL 1
		in 200 INVITE 1 sdp
		event answered
		order ack
		out ACK 1 branch=x
		order bye
		out BYE 2`,
	"caller, CANCEL without an end (RFC 3261 9.1)": `
		out INVITE 1 sdp
		in 180 INVITE 1
		event progress
		order cancel
		out CANCEL 1
		at 32
		event failed`,
	"caller, reliable (RFC 3262)": `
		out INVITE 1 sdp
		in 183 INVITE 1 rseq=5 sdp
		out PRACK 2 rack=5/1
		event progress
		in 183 INVITE 1 rseq=5 sdp
		in 180 INVITE 1 rseq=7
		in 200 PRACK 2
		in 180 INVITE 1 rseq=6
		out PRACK 3 rack=6/1
		event progress
		in UPDATE 10 sdp
		event offered
		order answer
		out 200 UPDATE 10 sdp
		in 200 INVITE 1
		event answered
		order ack
		out ACK 1 branch=x
		order bye
		out BYE 4`,
	"caller, the callee asks early": `
		out INVITE 1 sdp
		in 180 INVITE 1
		event progress
		in INVITE 10 sdp
		out 491 INVITE 10
		in UPDATE 11 sdp
		out 491 UPDATE 11
		in BYE 12
		out 481 BYE 12`,

	"callee, session timer, the peer refreshes (RFC 4028 9, 10)": `
		in INVITE 1 sdp timer expires=120
		order accept
		out 200 INVITE 1 sdp timer needtimer expires=120 refresher=uac
		in ACK 1
		event confirmed
		at 60
		in UPDATE 2 timer expires=120 refresher=uac
		out 200 UPDATE 2 timer needtimer expires=120 refresher=uac
		at 147
		at 148                 # 32 s before the end
		out BYE 1
		event ended`,
	"callee, session timer, we refresh": `
		in INVITE 1 sdp timer expires=100 refresher=uas update
		order accept
		out 200 INVITE 1 sdp timer expires=100 refresher=uas
		in ACK 1
		event confirmed
		at 50
		out UPDATE 1 timer expires=100 refresher=uac minse=90
		in 200 UPDATE 1 timer expires=100 refresher=uac
		at 100
		out INVITE 2 sdp timer expires=100 refresher=uac minse=90
		in 500 INVITE 2
		out ACK 2 branch=INVITE2
		at 150
		out BYE 3
		event ended`,
	"callee, a session too short (RFC 4028 9)": scriptTalking + `
		in UPDATE 2 timer expires=60
		out 422 UPDATE 2`,
}

// scriptNoAck is a session as callee that nobody acknowledges.
const scriptNoAck = `
	in INVITE 1 sdp
	order accept
	out 200 INVITE 1 sdp
	at 0.5
	out 200 INVITE 1 sdp
	at 1.5
	out 200 INVITE 1 sdp
	at 3.5
	out 200 INVITE 1 sdp
	at 7.5
	out 200 INVITE 1 sdp
	at 11.5
	out 200 INVITE 1 sdp
	at 15.5
	out 200 INVITE 1 sdp
	at 19.5
	out 200 INVITE 1 sdp
	at 23.5
	out 200 INVITE 1 sdp
	at 27.5
	out 200 INVITE 1 sdp
	at 31.5
	out 200 INVITE 1 sdp
	at 32`

// scriptNoPrack is one whose reliable response nobody acknowledges.
const scriptNoPrack = `
	in INVITE 1 sdp rel
	out 183 INVITE 1 sdp rseq=1
	at 0.5
	out 183 INVITE 1 sdp rseq=1
	at 1.5
	out 183 INVITE 1 sdp rseq=1
	at 3.5
	out 183 INVITE 1 sdp rseq=1
	at 7.5
	out 183 INVITE 1 sdp rseq=1
	at 15.5
	out 183 INVITE 1 sdp rseq=1
	at 31.5
	out 183 INVITE 1 sdp rseq=1
	at 32`

// scriptTalking is a session as callee that is confirmed.
const scriptTalking = `
	in INVITE 1 sdp update
	order accept
	out 200 INVITE 1 sdp
	in ACK 1
	event confirmed`
