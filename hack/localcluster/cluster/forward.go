package cluster

import (
	"io"
	"net"
)

// forward passes connections from one network to another: a listener stays in the network where it was opened.
// It returns when the listener is closed.
func forward(listener net.Listener, address string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("tcp", address)
			if err != nil {
				return // the caller sees its connection closed
			}
			defer to.Close()
			done := make(chan struct{})
			go func() {
				pipe(to, from)
				close(done)
			}()
			pipe(from, to)
			<-done
		}()
	}
}

// pipe copies until from is at its end, and tells to that it is.
func pipe(to, from net.Conn) {
	io.Copy(to, from) // either end may break off; both are closed then
	if half, ok := to.(*net.TCPConn); ok {
		half.CloseWrite()
	}
}
