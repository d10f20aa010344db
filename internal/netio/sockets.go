package netio

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"causeway/internal/pkt"
)

// readyEvents is how many ready ports one wake-up may tell of; the kernel keeps
// the others for the next.
const readyEvents = 256

// spareBuffers is what a worker keeps beyond a full inbox and a full outbox: a
// few for packets of our own making.
const spareBuffers = 32

type socketEngine struct{}

// Sockets returns the engine that gives each port a UDP socket of its own.
func Sockets() Engine { return socketEngine{} }

func (socketEngine) NewWorker() Worker { return newSocketWorker() }

// socketWorker polls the sockets of its ports with one epoll instance. Its
// goroutine owns everything but the commands.
type socketWorker struct {
	commands

	pool *pkt.Pool
	in   inbox
	out  outbox

	epoll, event int           // descriptors; -1 while not running
	ports        []*socketPort // by descriptor; nil where there is none
	events       []unix.EpollEvent
	errors       errorReader
	haste        haste
}

func newSocketWorker() *socketWorker {
	w := &socketWorker{
		pool:   pkt.NewPool(Batch + sendBatch + spareBuffers),
		epoll:  -1,
		event:  -1,
		events: make([]unix.EpollEvent, readyEvents),
	}
	w.in.init(w.pool)
	w.out.pool = w.pool
	return w
}

func (w *socketWorker) Do(f func(now time.Time)) { w.do(f) }

func (w *socketWorker) Listen(local netip.AddrPort, o Options) (Port, error) {
	p, err := listen(w, local, o)
	if err != nil {
		return nil, err // not p: a nil *socketPort would make an interface that is not nil
	}
	return p, nil
}

func (w *socketWorker) Buffer() *pkt.Buf { return w.pool.Get() }

// add starts polling a port, or leaves that to the start of Run.
func (w *socketWorker) add(p *socketPort) error {
	for len(w.ports) <= p.fd {
		w.ports = append(w.ports, nil)
	}
	w.ports[p.fd] = p
	if p.large {
		w.in.enlarge()
	}
	if w.epoll < 0 {
		return nil
	}
	return w.poll(p.fd)
}

// remove stops polling a port. Closing its descriptor takes it out of the epoll
// set; an event that was fetched already finds nothing here.
func (w *socketWorker) remove(p *socketPort) {
	w.ports[p.fd] = nil
	w.out.refused.forget(p)
}

func (w *socketWorker) poll(fd int) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &e))
}

func (w *socketWorker) Run(ctx context.Context, timers Timers) error {
	if err := w.open(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, w.rouse)()
	defer w.end(w.close)
	for _, p := range w.ports {
		if p != nil {
			if err := w.poll(p.fd); err != nil {
				return err
			}
		}
	}
	for {
		w.run()
		w.out.flush()
		if ctx.Err() != nil {
			return nil
		}
		if err := w.turn(timers); err != nil {
			return err
		}
	}
}

// open makes the descriptors and takes the command queue over.
func (w *socketWorker) open() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		closeFD(epoll)
		return os.NewSyscallError("eventfd", err)
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(event)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, event, &e); err != nil {
		closeFD(epoll)
		closeFD(event)
		return os.NewSyscallError("epoll_ctl", err)
	}
	w.begin(func() { // takes the queue over before the descriptors are anybody's
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		_, _ = unix.Write(event, one[:]) // fails only when woken 2^64 times over
	})
	w.epoll, w.event = epoll, event
	return nil
}

func (w *socketWorker) close() {
	w.out.flush()
	closeFD(w.epoll)
	closeFD(w.event)
	w.epoll, w.event = -1, -1
}

// turn sleeps until something is ready or due, and handles it.
func (w *socketWorker) turn(timers Timers) error {
	n, err := w.wait(timers)
	if err != nil {
		return err
	}
	now := time.Now()
	w.haste.begin(now)
	for _, e := range w.events[:n] {
		if int(e.Fd) == w.event {
			var count [8]byte
			_, _ = unix.Read(w.event, count[:])
			continue
		}
		w.serve(&e, now)
	}
	if at, ok := timers.Next(); ok && !at.After(now) {
		timers.Expire(now)
	}
	w.out.flush()
	return nil
}

// wait sleeps until something is ready or due, and returns how many events tell of it. Commands wake it, too.
func (w *socketWorker) wait(timers Timers) (n int, err error) {
	if w.haste.resting() {
		w.haste.rest()
		if n, err = w.look(0); n > 0 || err != nil {
			return n, err
		}
		w.haste.idle()
	}
	return w.look(timeout(timers, time.Now()))
}

// look returns how many ports are ready, after so many milliseconds if none is; -1 is for ever.
func (w *socketWorker) look(patience int) (n int, err error) {
	n, err = unix.EpollWait(w.epoll, w.events, patience)
	if err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), os.NewSyscallError("epoll_wait", err)
}

// serve handles one ready port: its errors, and one batch. A port with more than
// that stays ready and gets its next turn after the others.
func (w *socketWorker) serve(e *unix.EpollEvent, now time.Time) {
	p := w.ports[e.Fd]
	if p == nil {
		return
	}
	if e.Events&unix.EPOLLERR != 0 {
		w.drainErrors(p, now)
	}
	if e.Events&unix.EPOLLIN != 0 && !p.closed {
		w.in.receive(p, now)
	}
}

// timeout returns how long the worker may sleep, in epoll's milliseconds rounded
// up, so that a timer is never found a moment too early; -1 is for ever.
func timeout(timers Timers, now time.Time) int {
	at, ok := timers.Next()
	if !ok {
		return -1
	}
	const longest = time.Hour // far from what the system call's int holds
	d := min(at.Sub(now), longest)
	if d <= 0 {
		return 0
	}
	return int((d + time.Millisecond - 1) / time.Millisecond)
}
