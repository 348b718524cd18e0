"""Data sets of mmsegmentation that `Folder` reads: their classes, and what their masks are named.

Classes as mmsegmentation 1.2.2 lists them, in the order of the labels that its converters write.
"""

from typing import NamedTuple

CONTEXT = [
    "aeroplane",
    "bag",
    "bed",
    "bedclothes",
    "bench",
    "bicycle",
    "bird",
    "boat",
    "book",
    "bottle",
    "building",
    "bus",
    "cabinet",
    "car",
    "cat",
    "ceiling",
    "chair",
    "cloth",
    "computer",
    "cow",
    "cup",
    "curtain",
    "dog",
    "door",
    "fence",
    "floor",
    "flower",
    "food",
    "grass",
    "ground",
    "horse",
    "keyboard",
    "light",
    "motorbike",
    "mountain",
    "mouse",
    "person",
    "plate",
    "platform",
    "pottedplant",
    "road",
    "rock",
    "sheep",
    "shelves",
    "sidewalk",
    "sign",
    "sky",
    "snow",
    "sofa",
    "table",
    "track",
    "train",
    "tree",
    "truck",
    "tvmonitor",
    "wall",
    "water",
    "window",
    "wood",
]
"""Of Pascal Context, without the background."""

LOVEDA = ["background", "building", "road", "water", "barren", "forest", "agricultural"]
"""Of LoveDA."""

ISPRS = ["impervious_surface", "building", "low_vegetation", "tree", "car", "clutter"]
"""Of Potsdam and Vaihingen."""

ISAID = [
    "background",
    "ship",
    "store_tank",
    "baseball_diamond",
    "tennis_court",
    "basketball_court",
    "Ground_Track_Field",
    "Bridge",
    "Large_Vehicle",
    "Small_Vehicle",
    "Helicopter",
    "Swimming_pool",
    "Roundabout",
    "Soccer_ball_field",
    "plane",
    "Harbor",
]
"""Of iSAID."""

VISTAS = [
    "Bird",
    "Ground Animal",
    "Curb",
    "Fence",
    "Guard Rail",
    "Barrier",
    "Wall",
    "Bike Lane",
    "Crosswalk - Plain",
    "Curb Cut",
    "Parking",
    "Pedestrian Area",
    "Rail Track",
    "Road",
    "Service Lane",
    "Sidewalk",
    "Bridge",
    "Building",
    "Tunnel",
    "Person",
    "Bicyclist",
    "Motorcyclist",
    "Other Rider",
    "Lane Marking - Crosswalk",
    "Lane Marking - General",
    "Mountain",
    "Sand",
    "Sky",
    "Snow",
    "Terrain",
    "Vegetation",
    "Water",
    "Banner",
    "Bench",
    "Bike Rack",
    "Billboard",
    "Catch Basin",
    "CCTV Camera",
    "Fire Hydrant",
    "Junction Box",
    "Mailbox",
    "Manhole",
    "Phone Booth",
    "Pothole",
    "Street Light",
    "Pole",
    "Traffic Sign Frame",
    "Utility Pole",
    "Traffic Light",
    "Traffic Sign (Back)",
    "Traffic Sign (Front)",
    "Trash Can",
    "Bicycle",
    "Boat",
    "Bus",
    "Car",
    "Caravan",
    "Motorcycle",
    "On Rails",
    "Other Vehicle",
    "Trailer",
    "Truck",
    "Wheeled Slow",
    "Car Mount",
    "Ego Vehicle",
    "Unlabeled",
]
"""Of Mapillary Vistas 1.2."""

VESSELS = ["background", "vessel"]
"""Of the photographs of the retina."""


class Files(NamedTuple):
    """A data set that is images and masks in folders.

    Attributes:
        classes: in the order of the labels.
        mask_suffix: what a mask's name has after the image's.
        reduce_zero_label: whether label 0 is left out.
    """

    classes: list[str]
    mask_suffix: str = ""
    reduce_zero_label: bool = False


FILES = {
    "PascalContextDataset": Files(["background", *CONTEXT]),
    "PascalContextDataset59": Files(CONTEXT, reduce_zero_label=True),
    "LoveDADataset": Files(LOVEDA, reduce_zero_label=True),
    "PotsdamDataset": Files(ISPRS, reduce_zero_label=True),
    "ISPRSDataset": Files(ISPRS, reduce_zero_label=True),
    "iSAIDDataset": Files(ISAID, "_instance_color_RGB"),
    "MapillaryDataset_v1": Files(VISTAS),
    "DRIVEDataset": Files(VESSELS, "_manual1"),
    "HRFDataset": Files(VESSELS),
    "STAREDataset": Files(VESSELS, ".ah"),
    "ChaseDB1Dataset": Files(VESSELS, "_1stHO"),
}
"""By their class there."""
