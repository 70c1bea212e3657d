"""The virtual array of a transmitter order, and which of its elements form the azimuth row.

xWR1843/xWR6843ISK boards (AWR1843BOOST guide SPRUIM4, "Antenna"): receivers 1-4 sit half a wavelength apart in one row;
TX3 stands four columns from TX1, TX2 two columns from TX1 and half a wavelength above. A virtual element sits at the sum
of its transmitter's and receiver's columns.

Direction: a target right of boresight (seen from behind the radar, looking out) advances the phase from column to
column, so that a plain FFT over ascending columns puts it at positive azimuth. A board mounted upside down mirrors it.
"""

from dataclasses import dataclass

from pipeline.waveform import Waveform

TX_COLUMN = {1: 0, 2: 2, 3: 4}
TX_ROW = {1: 0, 2: 1, 3: 0}


@dataclass(frozen=True)
class AzimuthRow:
    """Elements of one horizontal row, one for each antenna column, ascending.

    `elements[i]` is the flat virtual index `tx_slot * rx_count + rx`; `slots[i]` its transmitter's slot in the loop
    (what TDM compensation needs); `columns[i]` its place in half wavelengths, the first at 0.
    """

    elements: tuple[int, ...]
    slots: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def aperture(self) -> int:
        """Columns from first to last, gaps included: the FFT's input length."""
        return self.columns[-1] + 1


def azimuth_row(waveform: Waveform) -> AzimuthRow:
    """The longest horizontal row of `waveform`'s virtual array; of two equally long ones the lower.

    A single antenna is a row of one: its cube shows the same power in every azimuth bin.
    """
    rows: dict[int, dict[int, tuple[int, int]]] = {}
    for slot, tx in enumerate(waveform.tx_order):
        for index, rx in enumerate(waveform.rx_channels):
            element = slot * waveform.rx_count + index
            rows.setdefault(TX_ROW[tx], {}).setdefault(TX_COLUMN[tx] + rx - 1, (element, slot))
    row = max(sorted(rows), key=lambda number: (len(rows[number]), -number))
    found = sorted((column, element, slot) for column, (element, slot) in rows[row].items())
    first = found[0][0]
    return AzimuthRow(
        elements=tuple(element for _, element, _ in found),
        slots=tuple(slot for _, _, slot in found),
        columns=tuple(column - first for column, _, _ in found),
    )
