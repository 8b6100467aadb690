/* SPDX-License-Identifier: MIT */
/*
 * Store buffers: one for each of two processors, first in, first out. Locations are
 * small numbers, all zero at first. drain() is the machine, which writes a buffer to
 * memory when it likes; it may be waiting in the end.
 */
#define NR_LOCATIONS 4

byte memory[NR_LOCATIONS];
chan buffer0 = [4] of { byte, byte };
chan buffer1 = [4] of { byte, byte };
byte pending[2 * NR_LOCATIONS]; /* how many stores to it are in the buffer, and the newest */
byte newest[2 * NR_LOCATIONS];
#define at(cpu, location) ((cpu) * NR_LOCATIONS + (location))

inline store(cpu, location, value)
{
	atomic {
		if
		:: cpu == 0 -> buffer0!location, value
		:: cpu == 1 -> buffer1!location, value
		fi;
		pending[at(cpu, location)]++;
		newest[at(cpu, location)] = value
	}
}

/* One's own store, if it is not in memory yet. */
inline load(cpu, location, value)
{
	value = (pending[at(cpu, location)] > 0 -> newest[at(cpu, location)] : memory[location])
}

inline fence(cpu)
{
	if
	:: cpu == 0 && empty(buffer0)
	:: cpu == 1 && empty(buffer1)
	fi
}

proctype drain(bool cpu)
{
	byte location, value;

end:	do
	:: atomic {
		if
		:: cpu == 0 && nempty(buffer0) -> buffer0?location, value
		:: cpu == 1 && nempty(buffer1) -> buffer1?location, value
		fi;
		memory[location] = value;
		pending[at(cpu, location)]--;
		location = 0; value = 0
	   }
	od
}
